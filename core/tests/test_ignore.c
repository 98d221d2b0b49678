/* .dockerignore patterns; spec/pack_spec.lua compares whole trees with the docker command. */
#include <stdlib.h>
#include <time.h>

#include "error.h"
#include "ignore.h"
#include "tap.h"

/* As a walk does it: from the top down, each with the state of its directory. */
static bool excluded(const char *patterns, const char *path)
{
    ms_ignore *g;
    moonsand_error *err = NULL;
    if (ms_ignore_parse(&g, patterns, strlen(patterns), &err) != 0) {
        fail("%s: %s", patterns, moonsand_error_message(err));
        moonsand_error_free(err);
        return false;
    }
    size_t n = ms_ignore_state_size(g) + 1;
    unsigned char *above = NULL, *state = calloc(2, n);
    bool result = false;
    char part[MS_PATH_MAX];
    for (const char *p = path; *p != '\0'; p++)
        if (p[1] == '/' || p[1] == '\0') {
            size_t len = (size_t)(p - path) + 1;
            memcpy(part, path, len);
            part[len] = '\0';
            result = ms_ignore_excludes(g, part, above, state + (above == state ? n : 0));
            above = above == state ? state + n : state;
        }
    free(state);
    ms_ignore_free(g);
    return result;
}

static void table(void)
{
    static const struct {
        const char *patterns, *path;
        bool out;
    } cases[] = {
        {"", "a", false},
        {"a", "a", true},
        {"a", "ab", false},
        {"a", "b/a", false},
        {"a", "a/b/c", true},
        {"/a", "a", true},
        {"a/", "a", true},
        {"./a/../b", "b", true},
        {"  a\t", "a", true},
        {"a\r\nb\r\n", "b", true},
        {"\xef\xbb\xbf"
         "a",
         "a", true},
        {"# a\n#b\n", "#b", false},
        {" #b", "#b", true},
        {"*", "a", true},
        {"*.c", "x.c", true},
        {"*.c", "d/x.c", false},
        {"*/*.c", "d/x.c", true},
        {"d/*", "d/e/f", true},
        {"d/*", "d", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"?", "\xc3\xbc", true},
        {"a?b", "a/b", false},
        {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[^a-c]x", "dx", true},
        {"[^a-c]x", "bx", false},
        {"[\xc3\xa4-\xc3\xbc]", "\xc3\xb6", true},
        {"[\\]]", "]", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"**", "a/b/c", true},
        {"**/x", "x", true},
        {"**/x", "a/b/x", true},
        {"**/x", "a/bx", false},
        {"**x", "a/bx", true},
        {"a/**/z", "a/z", true},
        {"a/**/z", "a/b/c/z", true},
        {"a/**/z", "a/b/cz", false},
        {"a/**", "a", false},
        {"a/**", "a/b/c", true},
        {"a**", "abc/d", true},
        {"**/*.c", "p/q/r.c", true},
        {"**/*.c", "r.c", true},
        {"**/a/**/b", "x/a/y/z/b", true},
        {"*\n!a", "a", false},
        {"*\n!a", "b", true},
        {"a\n!a/b", "a/b", false},
        {"a\n!a/b", "a/c", true},
        {"a\n!a/b\na/b/c", "a/b/c", true},
        {"!a\n*", "a", true},
        {"*\n! a", "a", false},
        {"*\n!/a", "a", false},
        {"*.c\n!x.c\nx.*", "x.c", true},
        {"a.c", "aXc", false},
        {"a+(b)|{c}$", "a+(b)|{c}$", true},
        {"../a", "a", false},
        {"..", "a", false},
        {".", "a", false},
        {"a/./b//c", "a/b/c", true},
        {"a\n\n\nb", "b", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_int(excluded(cases[i].patterns, cases[i].path), cases[i].out, "case %zu: %s", i,
               cases[i].path);
}

static void broken(void)
{
    static const char *const bad[] = {"[",   "[]",   "[a", "[a-", "[a-]", "[-a]", "[^]",
                                      "a\\", "[a\\", "!",  "! ",  "[]a]", "!["};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[64];
        ms_ignore *g;
        moonsand_error *err = NULL;
        snprintf(text, sizeof text, "fine\n\n%s\n", bad[i]);
        is_int(ms_ignore_parse(&g, text, strlen(text), &err), -1, "\"%s\" is no pattern", bad[i]);
        ok(moonsand_error_code(err) == MOONSAND_E_INVALID &&
               strstr(moonsand_error_message(err), "line 3"),
           "its line is told: %s", moonsand_error_message(err));
        moonsand_error_free(err);
    }
    ms_ignore *g;
    moonsand_error *err = NULL;
    is_int(ms_ignore_parse(&g, "a\0b", 3, &err), -1, "a NUL byte");
    moonsand_error_free(err);
}

static void keeps(void)
{
    ms_ignore *g;
    unsigned char state[8];
    ms_ignore_parse(&g, "*\n!sub/deep/x\n!**/y\n", 20, NULL);
    ok(ms_ignore_may_keep_below(g, "sub"), "an exception is below");
    ok(ms_ignore_may_keep_below(g, "sub/deep"), "and further below");
    ok(!ms_ignore_may_keep_below(g, "su"), "a part of a name is no directory");
    ok(!ms_ignore_may_keep_below(g, "other"), "nothing elsewhere");
    ok(ms_ignore_excludes(g, "Docker[f]ile", NULL, state), "a file is excluded");
    is_int(ms_ignore_keep(g, "Docker[f]ile", NULL), 0, "until it is to be kept");
    ok(!ms_ignore_excludes(g, "Docker[f]ile", NULL, state), "by its name, whatever is in it");
    ok(ms_ignore_excludes(g, "Dockerfile", NULL, state), "which is no pattern");
    ms_ignore_free(g);
    ms_ignore_free(NULL);
}

/* A matcher that goes back and tries again would need longer than the universe has existed. */
static void slow(void)
{
    char patterns[4096] = "", path[4096];
    for (int i = 0; i < 300; i++)
        strcat(patterns, i % 2 ? "*a" : "**/*a");
    strcat(patterns, "z"); /* lint: a test */
    memset(path, 'a', sizeof path);
    for (size_t i = 100; i < sizeof path; i += 101)
        path[i] = '/';
    path[MS_PATH_MAX - 2] = 'y';
    path[MS_PATH_MAX - 1] = '\0';
    clock_t before = clock();
    ms_ignore *g;
    unsigned char state[1];
    ms_ignore_parse(&g, patterns, strlen(patterns), NULL);
    ok(!ms_ignore_excludes(g, path, NULL, state), "wildcards without end");
    patterns[strlen(patterns) - 1] = 'y';
    ms_ignore_free(g);
    ms_ignore_parse(&g, patterns, strlen(patterns), NULL);
    ms_ignore_excludes(g, path, NULL, state);
    ms_ignore_free(g);
    double took = (double)(clock() - before) / CLOCKS_PER_SEC;
    ok(took < 2, "take %.3f s", took);
}

int main(void)
{
    table();
    broken();
    keeps();
    slow();
    return done_testing();
}
