#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "embedded.h"
#include "error.h"

void ms_embedded_free(ms_embedded *e)
{
    ms_free(e->dir);
    ms_free(e->run);
    ms_free(e->socket);
    ms_free(e->log);
    ms_free(e->state);
    memset(e, 0, sizeof *e);
}

static const char *own_getenv(const char *name)
{
    return getenv(name);
}

static char *default_dir(ms_getenv_fn env, moonsand_error **err)
{
    const char *data = env("XDG_DATA_HOME"), *home = env("HOME");
    char *dir = NULL;
    if (geteuid() == 0)
        dir = ms_strdup("/var/lib/moonsand");
    else if (data && data[0] == '/')
        dir = ms_asprintf("%s/moonsand", data);
    else if (home && home[0] == '/')
        dir = ms_asprintf("%s/.local/share/moonsand", home);
    else {
        ms_fail(err, MOONSAND_E_INVALID,
                "neither XDG_DATA_HOME nor HOME says where the embedded engine is to live");
        return NULL;
    }
    if (!dir)
        ms_fail_nomem(err);
    return dir;
}

/* Absolute and without links, since that is how the kernel lists mounts. */
static char *absolute(const char *dir, moonsand_error **err)
{
    char real[PATH_MAX], here[PATH_MAX];
    char *out;
    if (realpath(dir, real))
        out = ms_strdup(real);
    else if (dir[0] == '/')
        out = ms_strdup(dir);
    else if (getcwd(here, sizeof here))
        out = ms_asprintf("%s/%s", here, dir);
    else {
        ms_fail_errno(err, errno, "%s", dir);
        return NULL;
    }
    if (!out)
        ms_fail_nomem(err);
    return out;
}

/* Overlay's mount options and the TOML that Podman reads have no portable way to quote these. */
int ms_embedded_check_name(const char *dir, moonsand_error **err)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n <= 1)
        return ms_fail(err, MOONSAND_E_INVALID, "the embedded engine cannot live in /");
    for (const char *p = dir; *p; p++)
        if ((unsigned char)*p < 0x20 || strchr("\"'\\:,", *p))
            return ms_fail(err, MOONSAND_E_INVALID,
                           "directory of the embedded engine must not hold quotes, backslashes, "
                           "colons, commas or control characters");
    return 0;
}

static void make_tag(char tag[17], const char *dir)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *dir; dir++)
        h = (h ^ (unsigned char)*dir) * UINT64_C(0x100000001b3);
    snprintf(tag, 17, "%016llx", (unsigned long long)h);
}

static int choose_run(ms_embedded *e, ms_getenv_fn env, moonsand_error **err)
{
    const char *xdg = env("XDG_RUNTIME_DIR");
    if (strlen(e->dir) + strlen("/run" MS_LONGEST_BELOW_RUN) <= MS_SOCKET_MAX)
        e->run = ms_asprintf("%s/run", e->dir);
    else if (geteuid() == 0)
        e->run = ms_asprintf("/run/moonsand/%s", e->tag);
    else if (xdg && xdg[0] == '/' && !ms_embedded_check_name(xdg, NULL))
        e->run = ms_asprintf("%s/moonsand/%s", xdg, e->tag);
    else
        return ms_fail(err, MOONSAND_E_INVALID,
                       "%s is too long for the path of a socket, and XDG_RUNTIME_DIR is not set",
                       e->dir);
    if (!e->run)
        return ms_fail_nomem(err);
    if (strlen(e->run) + strlen(MS_LONGEST_BELOW_RUN) > MS_SOCKET_MAX)
        return ms_fail(err, MOONSAND_E_INVALID, "%s is too long for the path of a socket", e->run);
    return 0;
}

static int make_paths(ms_embedded *e, const char *dir, ms_getenv_fn env, moonsand_error **err)
{
    char *own = dir ? NULL : default_dir(env, err);
    if (!dir && !own)
        return -1;
    int rc = ms_embedded_check_name(dir ? dir : own, err);
    if (rc == 0)
        e->dir = absolute(dir ? dir : own, err);
    ms_free(own);
    if (rc || !e->dir || ms_embedded_check_name(e->dir, err))
        return -1;
    for (size_t n = strlen(e->dir); n > 1 && e->dir[n - 1] == '/'; n--)
        e->dir[n - 1] = 0;
    make_tag(e->tag, e->dir);
    if (choose_run(e, env, err))
        return -1;
    e->socket = ms_asprintf("%s/engine.sock", e->run);
    e->log = ms_asprintf("%s/engine.log", e->dir);
    e->state = ms_asprintf("%s/engine.json", e->dir);
    return e->socket && e->log && e->state ? 0 : ms_fail_nomem(err);
}

int ms_embedded_paths(ms_embedded *out, const char *dir, ms_getenv_fn env, moonsand_error **err)
{
    memset(out, 0, sizeof *out);
    int rc = make_paths(out, dir, env ? env : own_getenv, err);
    if (rc)
        ms_embedded_free(out);
    return rc;
}
