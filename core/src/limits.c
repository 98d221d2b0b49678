#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "error.h"
#include "spec.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define MS 1000000ull
#define S (1000 * MS)

/* Directories that a container gets no look at: what is in them, above them and below them. */
static const char *const forbidden_sources[] = {
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/moonsand",
    "/var/run",
    NULL,
};
/* Places inside that carry a wall. /run and /var/tmp are covered by us on Podman. */
static const char *const forbidden_targets[] = {
    "/dev", "/proc", "/sys", "/tmp", "/.moonsand", "/run", "/var/run", "/var/tmp", NULL,
};

void ms_limits_free(ms_limits *l)
{
    ms_free(l->image);
    ms_free(l->runtime);
    for (size_t i = 0; i < l->bind_count; i++) {
        ms_free((char *)l->binds[i].source);
        ms_free((char *)l->binds[i].target);
    }
    ms_free(l->binds);
    memset(l, 0, sizeof *l);
}

typedef struct number {
    const char *name;
    uint64_t given, fallback, low, high;
} number;

/* INVALID for what has no meaning anywhere. */
static int number_resolve(uint64_t *out, const number *n, moonsand_error **err)
{
    uint64_t v = n->given ? n->given : n->fallback;
    if (v < n->low || v > n->high)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "%s is %llu; give a value from %llu to %llu, or 0 for the default", n->name,
                       (unsigned long long)v, (unsigned long long)n->low,
                       (unsigned long long)n->high);
    *out = v;
    return 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int resolve_machine(ms_limits *l, const moonsand_sandbox_options *o,
                           const moonsand_engine_facts *facts, moonsand_error **err)
{
    /* A small machine must still be able to run with the defaults. */
    uint64_t cpus = 500 * MS, memory = 512 * MIB;
    if (facts->memory_bytes)
        memory = smaller(memory, facts->memory_bytes);
    const number n[] = {
        {"cpus (nano_cpus)", o->nano_cpus, cpus, 10 * MS, UINT32_MAX * S},
        {"memory_bytes", o->memory_bytes, memory, 16 * MIB, INT64_MAX / 2},
    };
    if (number_resolve(&l->nano_cpus, &n[0], err) || number_resolve(&l->memory_bytes, &n[1], err))
        return -1;
    if (facts->cpus && l->nano_cpus > facts->cpus * S)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "cpus is %llu.%02llu, but the engine's machine has %u",
                       (unsigned long long)(l->nano_cpus / S),
                       (unsigned long long)(l->nano_cpus % S / (10 * MS)), facts->cpus);
    if (facts->memory_bytes && l->memory_bytes > facts->memory_bytes)
        return ms_fail(
            err, MOONSAND_E_UNSUPPORTED, "memory_bytes is %llu, but the engine's machine has %llu",
            (unsigned long long)l->memory_bytes, (unsigned long long)facts->memory_bytes);
    return 0;
}

static int resolve_numbers(ms_limits *l, const moonsand_sandbox_options *o, moonsand_error **err)
{
    uint64_t memory = l->memory_bytes, pids = 0, inodes = 0, files = 0, artefacts = 0;
    const number first[] = {
        {"pids", o->pids, 128, 4, 32768},
        {"disk_bytes", o->disk_bytes, smaller(64 * MIB, memory / 4), 64 * KIB, memory / 2},
        {"disk_inodes", o->disk_inodes, 8192, 16, 1 << 20},
        /* Both file systems are memory: full, they must leave enough for the program to go on. */
        {"shm_bytes", o->shm_bytes, smaller(16 * MIB, memory / 8), 4 * KIB, memory / 4},
        {"open_files", o->open_files, 512, 16, 65536},
        {"timeout_ns", o->timeout_ns, 300 * S, 50 * MS, 30ull * 24 * 3600 * S},
        {"stdout_bytes", o->stdout_bytes, 16 * MIB, 1, 4 * GIB},
        {"stderr_bytes", o->stderr_bytes, 16 * MIB, 1, 4 * GIB},
        {"artefact_count", o->artefact_count, 256, 1, 65536},
        {"value_bytes", o->value_bytes, MIB, 1, MIB},
    };
    uint64_t *const out[] = {&pids,      &l->disk_bytes, &inodes,          &l->shm_bytes,
                             &files,     &l->timeout_ns, &l->stdout_bytes, &l->stderr_bytes,
                             &artefacts, &l->value_bytes};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        if (number_resolve(out[i], &first[i], err))
            return -1;
    }
    l->pids = (uint32_t)pids;
    l->disk_inodes = (uint32_t)inodes;
    l->inodes_given = o->disk_inodes != 0;
    l->open_files = (uint32_t)files;
    l->artefact_count = (uint32_t)artefacts;
    const number then[] = {
        {"file_bytes", o->file_bytes, l->disk_bytes, 1, memory},
        {"artefact_bytes", o->artefact_bytes, l->disk_bytes, 1, 4 * GIB},
    };
    return number_resolve(&l->file_bytes, &then[0], err) ||
                   number_resolve(&l->artefact_bytes, &then[1], err)
               ? -1
               : 0;
}

/* ---- names -------------------------------------------------------------------------------- */

static bool word_ok(const char *s, const char *more, size_t max)
{
    size_t n = strlen(s);
    if (n == 0 || n > max)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool plain = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
                     (s[i] >= '0' && s[i] <= '9');
        if (!plain && (i == 0 || !strchr(more, s[i])))
            return false;
    }
    return true;
}

static int resolve_names(ms_limits *l, const moonsand_sandbox_options *o,
                         const moonsand_engine_facts *facts, moonsand_error **err)
{
    char shown[128];
    if (!o->image || !*o->image)
        return ms_fail(err, MOONSAND_E_INVALID, "image is missing; name the image to run");
    if (!word_ok(o->image, "._-/:@", 512)) {
        ms_printable(shown, sizeof shown, o->image, strlen(o->image));
        return ms_fail(err, MOONSAND_E_INVALID, "image is \"%s\", which is no image reference",
                       shown);
    }
    if (o->runtime && !word_ok(o->runtime, "._-", 64)) {
        ms_printable(shown, sizeof shown, o->runtime, strlen(o->runtime));
        return ms_fail(err, MOONSAND_E_INVALID,
                       "runtime is \"%s\"; give a name that the engine's configuration defines",
                       shown);
    }
    if (o->network != MOONSAND_NETWORK_NONE && o->network != MOONSAND_NETWORK_BRIDGE)
        return ms_fail(err, MOONSAND_E_INVALID, "network is %d; give none or bridge",
                       (int)o->network);
    if (o->network == MOONSAND_NETWORK_BRIDGE && !facts->has_bridge)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "network is bridge, but the engine has no default network");
    l->network = o->network;
    l->exec_tmp = o->exec_tmp;
    l->image = ms_strdup(o->image);
    if (!l->image || (o->runtime && !(l->runtime = ms_strdup(o->runtime))))
        return ms_fail_nomem(err);
    return 0;
}

/* ---- binds -------------------------------------------------------------------------------- */

bool ms_path_normal(const char *p)
{
    size_t n = strlen(p);
    if (n < 2 || n >= PATH_MAX || p[0] != '/' || p[n - 1] == '/')
        return false;
    for (size_t i = 0; i < n;) {
        size_t part = strcspn(p + i + 1, "/");
        if (part == 0 || (part == 1 && p[i + 1] == '.') ||
            (part == 2 && p[i + 1] == '.' && p[i + 2] == '.'))
            return false;
        i += part + 1;
    }
    for (size_t i = 0; i < n; i++) {
        /* Both engines cut options and specifications at commas and colons somewhere. */
        if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f || strchr(",:\\\"", p[i]))
            return false;
    }
    return true;
}

bool ms_path_within(const char *path, const char *top)
{
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static const char *crossing(const char *path, const char *const *list)
{
    for (; *list; list++) {
        if (ms_path_within(path, *list) || ms_path_within(*list, path))
            return *list;
    }
    return NULL;
}

/* Who reaches the engine is root on its machine, and a read-only mount does not keep a socket from
 * being connected to. */
static bool holds_socket(const char *dir, const moonsand_engine_facts *facts)
{
    static const char scheme[] = "unix://";
    char real[PATH_MAX];
    size_t n = sizeof scheme - 1;
    return facts->endpoint && strncmp(facts->endpoint, scheme, n) == 0 &&
           realpath(facts->endpoint + n, real) && ms_path_within(real, dir);
}

/* real gets the directory without links, which is what is mounted: whoever may change a link on the
 * way later does not choose what a run sees. */
static int bind_source_local(char real[PATH_MAX], const char *source,
                             const moonsand_engine_facts *facts, moonsand_error **err)
{
    if (!realpath(source, real))
        return ms_fail_errno(err, errno, "bind source %s", source);
    const char *bad = crossing(real, forbidden_sources);
    if (bad || strcmp(real, "/") == 0)
        return ms_fail(err, MOONSAND_E_INVALID, "bind source %s leads to %s, which overlaps %s",
                       source, real, bad ? bad : "/");
    if (!ms_path_normal(real))
        return ms_fail(err, MOONSAND_E_INVALID,
                       "bind source %s leads to %s; a name with commas, colons, quotes or "
                       "backslashes cannot be mounted",
                       source, real);
    if (holds_socket(real, facts))
        return ms_fail(err, MOONSAND_E_INVALID,
                       "bind source %s holds the engine's socket; bind a directory below it",
                       source);
    struct stat st;
    if (stat(real, &st))
        return ms_fail_errno(err, errno, "bind source %s", source);
    if (!S_ISDIR(st.st_mode))
        return ms_fail(err, MOONSAND_E_INVALID, "bind source %s is not a directory", source);
    return 0;
}

static int bind_check(char real[PATH_MAX], const moonsand_bind *b,
                      const moonsand_engine_facts *facts, moonsand_error **err)
{
    char shown[128];
    if (!b->source || !b->target)
        return ms_fail(err, MOONSAND_E_INVALID, "a bind needs a source and a target");
    const char *const both[2] = {b->source, b->target};
    for (size_t i = 0; i < 2; i++) {
        if (ms_path_normal(both[i]))
            continue;
        ms_printable(shown, sizeof shown, both[i], strlen(both[i]));
        return ms_fail(err, MOONSAND_E_INVALID,
                       "bind %s is \"%s\"; give an absolute path below / without \"..\", \"//\", "
                       "commas and colons",
                       i ? "target" : "source", shown);
    }
    const char *bad = crossing(b->source, forbidden_sources);
    if (bad)
        return ms_fail(err, MOONSAND_E_INVALID, "bind source %s overlaps %s; bind data only",
                       b->source, bad);
    bad = crossing(b->target, forbidden_targets);
    if (bad)
        return ms_fail(err, MOONSAND_E_INVALID, "bind target %s overlaps %s; choose another place",
                       b->target, bad);
    if (facts->local)
        return bind_source_local(real, b->source, facts, err);
    memcpy(real, b->source, strlen(b->source) + 1); /* a normal path fits */
    return 0;
}

static int resolve_binds(ms_limits *l, const moonsand_sandbox_options *o,
                         const moonsand_engine_facts *facts, moonsand_error **err)
{
    if (o->bind_count == 0)
        return 0;
    if (o->bind_count > MS_BIND_MAX || !o->binds)
        return ms_fail(err, MOONSAND_E_INVALID, "%zu binds; give at most %d", o->bind_count,
                       MS_BIND_MAX);
    if (!(l->binds = ms_calloc(o->bind_count, sizeof *l->binds)))
        return ms_fail_nomem(err);
    for (size_t i = 0; i < o->bind_count; i++) {
        const moonsand_bind *b = &o->binds[i];
        char real[PATH_MAX];
        if (bind_check(real, b, facts, err))
            return -1;
        for (size_t k = 0; k < i; k++) {
            if (ms_path_within(b->target, l->binds[k].target) ||
                ms_path_within(l->binds[k].target, b->target))
                return ms_fail(err, MOONSAND_E_INVALID, "bind targets %s and %s overlap",
                               l->binds[k].target, b->target);
        }
        l->bind_count = i + 1;
        l->binds[i].source = ms_strdup(real);
        l->binds[i].target = ms_strdup(b->target);
        if (!l->binds[i].source || !l->binds[i].target)
            return ms_fail_nomem(err);
    }
    return 0;
}

int ms_limits_resolve(ms_limits *out, const moonsand_sandbox_options *options,
                      const moonsand_engine_facts *facts, moonsand_error **err)
{
    memset(out, 0, sizeof *out);
    if (!options || options->version != 1)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "sandbox options: start from MOONSAND_SANDBOX_OPTIONS_INIT");
    if (resolve_names(out, options, facts, err) || resolve_machine(out, options, facts, err) ||
        resolve_numbers(out, options, err) || resolve_binds(out, options, facts, err)) {
        ms_limits_free(out);
        return -1;
    }
    return 0;
}
