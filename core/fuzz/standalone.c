/* Runs a fuzzer's corpus without libFuzzer, so that the ordinary tests do. Arguments: directories;
 * prints one line of TAP for each. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rbe");
    if (!f)
        return -1;
    static uint8_t data[1 << 22];
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    /* A copy of exactly that size, so that a sanitizer sees a read past the end. */
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact)
        return -1;
    for (size_t i = 0; i < n; i++)
        exact[i] = data[i];
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    int bad = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        unsigned count = 0;
        for (struct dirent *e; d && (e = readdir(d));) {
            if (e->d_name[0] != '.' && run_file(argv[i], e->d_name) == 0)
                count++;
        }
        if (d)
            closedir(d);
        bad += !count;
        printf("%sok %d - %s: %u inputs\n", count ? "" : "not ", i, argv[i], count);
    }
    printf("1..%d\n", argc - 1);
    return bad != 0;
}
