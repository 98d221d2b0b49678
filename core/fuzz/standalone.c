/* Runs a fuzz target over the files of the directories given as arguments, without a fuzzer: what
 * was once found stays found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The file's bytes in a block of exactly their length, so that a sanitizer sees each step beyond.
 */
static int run_file(const char *path)
{
    FILE *f = fopen(path, "rbe");
    struct stat st;
    if (f == NULL || fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        if (f != NULL)
            fclose(f);
        return 0;
    }
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size != 0 ? size : 1);
    int good = data != NULL && fread(data, 1, size, f) == size;
    fclose(f);
    if (good)
        LLVMFuzzerTestOneInput(data, size);
    free(data);
    return good;
}

static int run_dir(const char *dir)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, alphasort), ran = 0;
    for (int i = 0; i < n; i++) {
        char path[4096];
        int len = snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
        if (len > 0 && (size_t)len < sizeof(path))
            ran += run_file(path);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return ran;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        int ran = run_dir(argv[i]);
        printf("%sok %d - %s: %d files\n", ran > 0 ? "" : "not ", i, argv[i], ran);
        fflush(stdout);
        failed += ran == 0;
    }
    printf("1..%d\n", argc - 1);
    return failed != 0;
}
