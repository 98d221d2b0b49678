/* Which runs the fork server's interpreter itself can be; all others are executed in the same
 * walls. What a run gets must be what a container of its own would have given it, so it is in the
 * fork only when its first word means the very interpreter that waits, and when nothing differs
 * that an interpreter asks for at its start only. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* What exec_program() would execute, "" when that is nothing. */
static void find_program(const char *name, char *const *env, char *out, size_t size)
{
    if (strchr(name, '/') != NULL) {
        (void)snprintf(out, size, "%s", name);
        return;
    }
    for (const char *dir = search_path(env);; dir++) {
        size_t n = strcspn(dir, ":");
        int len = snprintf(out, size, "%.*s/%s", n > 0 ? (int)n : 1, n > 0 ? dir : ".", name);
        if (len > 0 && (size_t)len < size && is_program(out))
            return;
        dir += n;
        if (*dir == 0)
            break;
    }
    out[0] = 0;
}

void interpreter_find(struct server *s)
{
    find_program(s->interpreter, s->env, s->path, sizeof s->path);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool same_directory(const char *a, const char *b)
{
    char x[MS_PATH_MAX], y[MS_PATH_MAX];
    (void)snprintf(x, sizeof x, "%.*s", (int)(strrchr(a, '/') - a) + 1, a);
    (void)snprintf(y, sizeof y, "%.*s", (int)(strrchr(b, '/') - b) + 1, b);
    return same_file(x, y);
}

/* Another name in the same directory may stand for it (python for python3). In another directory
 * the same file is another interpreter: that is how Python's virtual environments are made. */
static bool is_interpreter(const struct server *s, const char *word, char *const *env)
{
    char path[MS_PATH_MAX];
    if (s->path[0] != '/')
        return false;
    if (strchr(word, '/') == NULL) {
        /* A directory of the run's own PATH may be one that it brings. */
        if (strcmp(search_path(env), search_path(s->env)) != 0)
            return false;
        if (strcmp(word, s->interpreter) == 0)
            return true;
    }
    find_program(word, env, path, sizeof path);
    if (path[0] != '/')
        return false;
    return strcmp(path, s->path) == 0 ||
           (same_file(path, s->path) && same_directory(path, s->path));
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The glue sees to the three of Python that it names: forkserver.py. */
static bool read_at_start(const struct server *s, const char *entry)
{
    static const char *const known[] = {
        "PYTHONUNBUFFERED=", "PYTHONDONTWRITEBYTECODE=", "PYTHONPATH="};
    if (begins(entry, "LD_") || begins(entry, "LC_") || begins(entry, "LANG="))
        return true;
    if (!s->python)
        return begins(entry, "LUA_");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins(entry, known[i]))
            return false;
    return begins(entry, "PYTHON");
}

/* All that the one has of them is in the other. */
static bool is_within(const struct server *s, char *const *one, char *const *other)
{
    for (; *one != NULL; one++) {
        if (!read_at_start(s, *one))
            continue;
        char *const *at = other;
        while (*at != NULL && strcmp(*at, *one) != 0)
            at++;
        if (*at == NULL)
            return false;
    }
    return true;
}

/* The interpreter's options are few: all other uses are executed. */
bool runs_in_process(const struct agent *a)
{
    const struct server *s = &a->server;
    char *const *argv = a->request.argv, *const *env = a->request.env;
    if (argv[1] == NULL || argv[1][0] == 0 || !is_interpreter(s, argv[0], env) ||
        !is_within(s, env, s->env) || !is_within(s, s->env, env))
        return false;
    if (argv[1][0] != '-')
        return true;
    if (s->python)
        return (strcmp(argv[1], "-c") == 0 || strcmp(argv[1], "-m") == 0) && argv[2] != NULL;
    return strcmp(argv[1], "-e") == 0 && argv[2] != NULL && argv[3] == NULL;
}
