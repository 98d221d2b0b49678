/* .dockerignore: the input is the file and, after a NUL byte, a path. No crash, and no pattern that
 * takes more than a moment. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "error.h"
#include "ignore.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void match(const ms_ignore *g, const char *path)
{
    size_t n = ms_ignore_state_size(g);
    unsigned char *above = ms_malloc(n + 1), *state = ms_malloc(n + 1);
    if (above == NULL || state == NULL)
        abort();
    memset(above, 0, n + 1);
    bool first = ms_ignore_excludes(g, path, NULL, state);
    if (ms_ignore_excludes(g, path, above, state) != first)
        abort();
    for (size_t i = 0; i < n; i++)
        if (state[i] > 1)
            abort();
    (void)ms_ignore_may_keep_below(g, path);
    ms_free(above);
    ms_free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *nul = size != 0 ? memchr(text, '\0', size) : NULL;
    size_t len = nul != NULL ? (size_t)(nul - text) : size;
    char path[MS_PATH_MAX];
    size_t n = nul != NULL ? size - len - 1 : 0;
    if (n > sizeof(path) - 1)
        n = sizeof(path) - 1;
    if (n != 0)
        memcpy(path, nul + 1, n);
    path[n] = '\0';
    /* in proportion to both lengths, and so bounded by the fuzzer's longest input */
    clock_t before = clock();
    ms_ignore *g;
    moonsand_error *err = NULL;
    if (ms_ignore_parse(&g, text, len, &err) == 0) {
        match(g, path);
        if (ms_ignore_keep(g, path, NULL) != 0)
            abort();
        unsigned char *state = ms_malloc(ms_ignore_state_size(g));
        if (state == NULL || (n != 0 && ms_ignore_excludes(g, path, NULL, state)))
            abort();
        ms_free(state);
        ms_ignore_free(g);
    }
    moonsand_error_free(err);
    if (clock() - before > 10 * CLOCKS_PER_SEC)
        abort();
    return 0;
}
