#include "warm.h"

#include <string.h>

#include "error.h"

#define MAX_RUNS 10000
#define MAX_AGE_NS UINT64_C(3600000000000)
#define LEAST_AGE_NS UINT64_C(1000000000)
#define LONGEST_AGE_NS (UINT64_C(30) * 24 * MAX_AGE_NS)
#define PRELOAD_MAX 64
#define NAME_MAX_BYTES 255
#define SCRIPT_MAX (MS_PROTO_MAX / 4)

void ms_warm_free(ms_warm *w)
{
    ms_free(w->language);
    ms_free(w->interpreter);
    ms_free(w->preload_script);
    for (size_t i = 0; i < w->preload_count; i++)
        ms_free(w->preload[i]);
    ms_free(w->preload);
    memset(w, 0, sizeof *w);
}

/* A word without anything that a path, a shell or a module's name has no use for. */
static bool plain_word(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+");
    return n > 0 && n <= NAME_MAX_BYTES && s[n] == '\0' && s[0] != '-' && s[0] != '.';
}

/* As plain_word(), but with the letters beyond ASCII that Python's names may have. */
static bool module_name(const char *s)
{
    char plain[NAME_MAX_BYTES + 1];
    size_t n = strlen(s);
    if (n >= sizeof plain)
        return false;
    for (size_t i = 0; i < n;) {
        size_t step = ms_utf8_step((const unsigned char *)s + i, n - i);
        if (step == 0)
            return false;
        for (size_t end = i + step; i < end; i++)
            plain[i] = (unsigned char)s[i] < 0x80 ? s[i] : 'x';
    }
    plain[n] = '\0';
    return plain_word(plain);
}

static int bad_word(const char *what, const char *given, const char *want, moonsand_error **err)
{
    char shown[128];
    ms_printable(shown, sizeof shown, given, strlen(given));
    return ms_fail(err, MOONSAND_E_INVALID, "%s is \"%s\"; give %s", what, shown, want);
}

static int resolve_language(ms_warm *w, const moonsand_sandbox_options *o, moonsand_error **err)
{
    const char *language = o->language ? o->language : "python";
    bool lua = strcmp(language, "lua") == 0;
    if (!lua && strcmp(language, "python") != 0)
        return bad_word("language", language, "python or lua", err);
    const char *interpreter = o->interpreter ? o->interpreter : lua ? "lua5.4" : "python3";
    if (!plain_word(interpreter))
        return bad_word("interpreter", interpreter, "the name of a program in PATH", err);
    w->language = ms_strdup(language);
    w->interpreter = ms_strdup(interpreter);
    return w->language && w->interpreter ? 0 : ms_fail_nomem(err);
}

static int resolve_preload(ms_warm *w, const moonsand_sandbox_options *o, moonsand_error **err)
{
    if (o->preload_count > PRELOAD_MAX || (o->preload_count && !o->preload))
        return ms_fail(err, MOONSAND_E_INVALID, "preload has %zu modules; give at most %d",
                       o->preload_count, PRELOAD_MAX);
    if (o->preload_script && strlen(o->preload_script) > SCRIPT_MAX)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "preload_script is %zu bytes long; give at most %u, or put it in the image",
                       strlen(o->preload_script), SCRIPT_MAX);
    if (o->preload_count && !(w->preload = ms_calloc(o->preload_count, sizeof *w->preload)))
        return ms_fail_nomem(err);
    for (size_t i = 0; i < o->preload_count; i++) {
        const char *name = o->preload[i] ? o->preload[i] : "";
        if (!module_name(name))
            return bad_word("preload", name, "names of modules", err);
        if (!(w->preload[i] = ms_strdup(name)))
            return ms_fail_nomem(err);
        w->preload_count = i + 1;
    }
    if (o->preload_script && !(w->preload_script = ms_strdup(o->preload_script)))
        return ms_fail_nomem(err);
    return 0;
}

static int resolve_numbers(ms_warm *w, const moonsand_sandbox_options *o, moonsand_error **err)
{
    if (o->mode != MOONSAND_MODE_CONTAINER && o->mode != MOONSAND_MODE_FORK)
        return ms_fail(err, MOONSAND_E_INVALID, "mode is %d", (int)o->mode);
    bool fork = o->mode == MOONSAND_MODE_FORK;
    w->mode = o->mode;
    w->workers = fork && !o->workers ? 1 : o->workers;
    if (w->workers > MOONSAND_WORKERS_MAX)
        return ms_fail(err, MOONSAND_E_INVALID, "workers is %u; give at most %d", w->workers,
                       MOONSAND_WORKERS_MAX);
    w->server = fork || o->preload_count || o->preload_script;
    if (w->server && !w->workers)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "preload needs a container that waits for the run: give workers, or fork "
                       "mode");
    if ((int)o->require < 0 || o->require > MOONSAND_TIER_NAMESPACES ||
        (o->require != MOONSAND_TIER_NONE && !fork))
        return ms_fail(err, MOONSAND_E_INVALID,
                       "require is %d; it says what runs of fork mode must have at least: leave it "
                       "at 0 otherwise",
                       (int)o->require);
    w->require = o->require;
    w->max_runs = o->max_runs ? o->max_runs : MAX_RUNS;
    uint64_t age = o->max_age_ns ? o->max_age_ns : MAX_AGE_NS;
    if (age < LEAST_AGE_NS || age > LONGEST_AGE_NS)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "max_age is %.3g s; give a value from 1 s to 30 days, or 0 for the default",
                       (double)age / 1e9);
    w->max_age_ns = (int64_t)age;
    w->on_pool = o->on_pool;
    w->pool_arg = o->pool_arg;
    return 0;
}

int ms_warm_resolve(ms_warm *out, const moonsand_sandbox_options *options, moonsand_error **err)
{
    memset(out, 0, sizeof *out);
    if (resolve_numbers(out, options, err) || resolve_language(out, options, err) ||
        resolve_preload(out, options, err)) {
        ms_warm_free(out);
        return -1;
    }
    return 0;
}

int ms_warm_put_server(ms_buf *out, const ms_warm *w, const ms_limits *l, const char *path,
                       const char *lang)
{
    /* Threads do not survive a fork, so the libraries that start some of their own must not have
     * any before the run. */
    const char *env[] = {NULL, NULL, "HOME=/tmp", "TMPDIR=/tmp", "OMP_NUM_THREADS=1",
                         "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "NUMEXPR_NUM_THREADS=1",
                         "VECLIB_MAXIMUM_THREADS=1", "BLIS_NUM_THREADS=1",
                         /* What Python reads at its start only, as runs of it have it. */
                         "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1",
                         "PYTHONPATH=" MS_PYTHON_DIR_INSIDE};
    bool fork = w->mode == MOONSAND_MODE_FORK;
    uint64_t least = w->require > MOONSAND_TIER_LANDLOCK ? MS_TIER_NAMESPACES : MS_TIER_LANDLOCK;
    char *own_path = ms_asprintf("PATH=%s", path), *own_lang = ms_asprintf("LANG=%s", lang);
    env[0] = own_path;
    env[1] = own_lang;
    ms_agent_server s = {
        .language = w->language,
        .interpreter = w->interpreter,
        .env = env,
        .envc = sizeof env / sizeof *env,
        .preload = (const char *const *)w->preload,
        .preload_count = w->preload_count,
        .preload_script = w->preload_script,
        /* A container for one run has no other run to be kept from. */
        .tier_lowest = fork ? least : MS_TIER_NONE,
        .tmp_bytes = l->disk_bytes,
        .tmp_inodes = l->disk_inodes,
        .shm_bytes = l->shm_bytes,
        .fsize = l->file_bytes,
        .net_shared = l->network != MOONSAND_NETWORK_NONE,
        .tmp_exec = l->exec_tmp,
    };
    int rc = own_path && own_lang ? ms_agent_put_server(out, &s) : -1;
    ms_free(own_path);
    ms_free(own_lang);
    return rc;
}
