#include "selfcheck.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "proto.h"

#define ITEM_MAX (256u << 10)
#define SHOWN_MAX 24 /* walls; when as many are missing, more names help nobody */

static const char *const item_names[] = {MS_PROBE_NAMES};
enum { STATUS, MOUNTS, NET, ROUTE, NS, CGROUP, LIMITS, ID, MASKED, OOM, ITEMS };
_Static_assert(sizeof item_names / sizeof *item_names == ITEMS, "as in MS_PROBE_NAMES");

struct ms_probe {
    ms_buf items[ITEMS];
    bool seen[ITEMS];
};

int ms_probe_new(ms_probe **out, moonsand_error **err)
{
    *out = ms_calloc(1, sizeof **out);
    return *out ? 0 : ms_fail_nomem(err);
}

void ms_probe_free(ms_probe *p)
{
    for (size_t i = 0; p && i < ITEMS; i++)
        ms_buf_free(&p->items[i]);
    ms_free(p);
}

int ms_probe_add(ms_probe *p, const char *name, const char *text, size_t len, moonsand_error **err)
{
    size_t i = 0;
    while (i < ITEMS && strcmp(name, item_names[i]) != 0)
        i++;
    if (i == ITEMS || p->seen[i] || len > ITEM_MAX || (len && memchr(text, 0, len))) {
        char shown[64];
        ms_printable(shown, sizeof shown, name, strlen(name));
        return ms_fail(err, MOONSAND_E_PROTOCOL,
                       "self-check: item \"%s\" is unknown, doubled, too long or binary", shown);
    }
    if (len && ms_buf_add(&p->items[i], text, len))
        return ms_fail_nomem(err);
    p->seen[i] = true;
    return 0;
}

/* ---- slices ------------------------------------------------------------------------------- */

bool ms_slice_line(ms_slice *rest, ms_slice *line)
{
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    *line = (ms_slice){rest->p, end ? (size_t)(end - rest->p) : rest->n};
    size_t taken = line->n + (end != NULL);
    rest->p += taken;
    rest->n -= taken;
    return true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

bool ms_slice_word(ms_slice *rest, ms_slice *word)
{
    while (rest->n && blank(*rest->p)) {
        rest->p++;
        rest->n--;
    }
    size_t n = 0;
    while (n < rest->n && !blank(rest->p[n]))
        n++;
    *word = (ms_slice){rest->p, n};
    rest->p += n;
    rest->n -= n;
    return n > 0;
}

bool ms_slice_is(ms_slice s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

bool ms_slice_number(ms_slice s, bool suffix, uint64_t *out)
{
    unsigned shift = 0;
    if (suffix && s.n > 1) {
        char c = s.p[s.n - 1];
        shift = c == 'k' ? 10 : c == 'm' ? 20 : c == 'g' ? 30 : 0;
        s.n -= shift != 0;
    }
    if (s.n == 0 || s.n > 19)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    if (v > UINT64_MAX >> shift)
        return false;
    *out = v << shift;
    return true;
}

void ms_wall_missing(ms_walls *w, const char *fmt, ...)
{
    char text[256], shown[256];
    if (++w->count > SHOWN_MAX)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* Names in it came from the container. */
    ms_printable(shown, sizeof shown, text, strlen(text));
    if (ms_buf_addf(&w->text, "%s%s", w->count > 1 ? "; " : "", shown))
        w->nomem = true;
}

/* What follows "key:" or "key " at the beginning of a line. */
static bool field(ms_slice text, const char *key, ms_slice *value)
{
    size_t n = strlen(key);
    ms_slice line;
    while (ms_slice_line(&text, &line)) {
        if (line.n > n && memcmp(line.p, key, n) == 0 && (line.p[n] == ':' || blank(line.p[n]))) {
            *value = (ms_slice){line.p + n + 1, line.n - n - 1};
            return true;
        }
    }
    return false;
}

static bool field_number(ms_slice text, const char *key, uint64_t *out)
{
    ms_slice value, word;
    return field(text, key, &value) && ms_slice_word(&value, &word) &&
           ms_slice_number(word, false, out);
}

/* ---- the checks --------------------------------------------------------------------------- */

/* Every word is the container's own id, and there are so many of them. */
static bool all_own(ms_slice value, const ms_walls *w, size_t least, size_t most)
{
    ms_slice word;
    uint64_t id;
    size_t count = 0;
    while (ms_slice_word(&value, &word)) {
        if (!ms_slice_number(word, false, &id) || id != w->c->uid)
            return false;
        count++;
    }
    return count >= least && count <= most;
}

static void check_status(ms_walls *w, ms_slice text)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    ms_slice value, word;
    uint64_t n;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (!field(text, sets[i], &value) || !ms_slice_word(&value, &word) ||
            !ms_slice_is(word, "0000000000000000"))
            ms_wall_missing(w, "capabilities are left (%s)", sets[i]);
    }
    if (!field_number(text, "NoNewPrivs", &n) || n != 1)
        ms_wall_missing(w, "no_new_privs is off");
    if (!field_number(text, "Seccomp", &n) || n != 2)
        ms_wall_missing(w, "there is no seccomp filter");
    if (!field(text, "Uid", &value) || !all_own(value, w, 4, 4))
        ms_wall_missing(w, "the user is not %u", w->c->uid);
    if (!field(text, "Gid", &value) || !all_own(value, w, 4, 4))
        ms_wall_missing(w, "the group is not %u", w->c->uid);
    /* An empty list has no blank behind its colon on some kernels. */
    if (!field(text, "Groups", &value) || !all_own(value, w, 0, 1))
        ms_wall_missing(w, "there are supplementary groups");
}

static void check_id(ms_walls *w, ms_slice text)
{
    ms_slice line = {text.p, 0};
    (void)ms_slice_line(&text, &line);
    if (!all_own(line, w, 2, 3) || text.n)
        ms_wall_missing(w, "ids are not all %u", w->c->uid);
}

/* Tunnels that some kernels put into each new network namespace; they are down and stay so without
 * CAP_NET_ADMIN. */
static bool fallback_tunnel(ms_slice name)
{
    static const char *const names[] = {"tunl0",    "gre0", "gretap0", "erspan0", "ip_vti0",
                                        "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0", NULL};
    for (size_t i = 0; names[i]; i++) {
        if (ms_slice_is(name, names[i]))
            return true;
    }
    return false;
}

static void check_network(ms_walls *w, ms_slice devices, ms_slice routes)
{
    if (w->c->limits->network != MOONSAND_NETWORK_NONE)
        return;
    ms_slice line, word;
    size_t lo = 0, lines = 0;
    while (ms_slice_line(&devices, &line)) {
        const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
        /* Two lines of titles without a colon. */
        if (lines++ < 2 || !colon)
            continue;
        line.n = (size_t)(colon - line.p);
        if (!ms_slice_word(&line, &word))
            continue;
        if (ms_slice_is(word, "lo"))
            lo++;
        else if (!fallback_tunnel(word))
            ms_wall_missing(w, "there is a network device (%.*s)", (int)(word.n < 16 ? word.n : 16),
                            word.p);
    }
    if (lines < 2 || lo > 1)
        ms_wall_missing(w, "the network devices are unknown");
    lines = 0;
    while (ms_slice_line(&routes, &line))
        lines++;
    if (lines > 1)
        ms_wall_missing(w, "there are network routes");
}

static void check_namespaces(ms_walls *w, ms_slice text)
{
    static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "uts", "user"};
    bool mapped = w->facts->rootless || w->facts->userns_remap;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds - !mapped; i++) {
        uint64_t inside;
        if (!field_number(text, kinds[i], &inside)) {
            ms_wall_missing(w, "the %s namespace is unknown", kinds[i]);
            continue;
        }
        char path[32], link[64], own[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        ssize_t n = w->facts->local ? readlink(path, link, sizeof link - 1) : -1;
        if (n <= 0)
            continue;
        link[n] = 0;
        snprintf(own, sizeof own, "%s:[%llu]", kinds[i], (unsigned long long)inside);
        if (strcmp(own, link) == 0)
            ms_wall_missing(w, "the %s namespace is the machine's", kinds[i]);
    }
}

/* Limits may be a little tighter than asked (pages, rounding), never wider. */
static bool limit_ok(uint64_t got, uint64_t want, uint64_t slack)
{
    return got <= want && got + slack >= want;
}

static bool field_limit_ok(ms_slice text, const char *name, uint64_t want, uint64_t slack)
{
    uint64_t got;
    return field_number(text, name, &got) && limit_ok(got, want, slack);
}

static void check_cgroup(ms_walls *w, ms_slice text)
{
    const ms_limits *l = w->c->limits;
    uint64_t n = 0, period = 0;
    if (!field_limit_ok(text, "memory.max", l->memory_bytes, 65536))
        ms_wall_missing(w, "the memory limit is not %llu", (unsigned long long)l->memory_bytes);
    ms_slice value, word;
    /* A kernel that cannot swap (or that does not count it, then Docker warns) has no such file. */
    if (field(text, "memory.swap.max", &value) && (!field_number(text, "memory.swap.max", &n) || n))
        ms_wall_missing(w, "the container may swap");
    if (field(text, "memsw", &value) && !field_limit_ok(text, "memsw", l->memory_bytes, 65536))
        ms_wall_missing(w, "the container may swap");
    bool known = field(text, "cpu.max", &value) && ms_slice_word(&value, &word) &&
                 ms_slice_number(word, false, &n) && ms_slice_word(&value, &word) &&
                 ms_slice_number(word, false, &period) && period > 0 && n < UINT64_MAX / 1000000000;
    uint64_t got = known ? n * 1000000000 / period : 0;
    if (!known || !limit_ok(got, l->nano_cpus, l->nano_cpus / 50 + 10000))
        ms_wall_missing(w, "the CPU limit is not %.2f", (double)l->nano_cpus / 1e9);
    uint32_t pids = ms_container_pids(w->c);
    if (!field_limit_ok(text, "pids.max", pids, 0))
        ms_wall_missing(w, "the process limit is not %u", pids);
}

static void check_rlimits(ms_walls *w, ms_slice text)
{
    const struct {
        const char *name;
        uint64_t want;
    } checks[] = {{"Max open files", w->c->limits->open_files},
                  {"Max core file size", 0},
                  {"Max msgqueue size", 0}};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        ms_slice value, soft, hard;
        uint64_t n;
        if (!field(text, checks[i].name, &value) || !ms_slice_word(&value, &soft) ||
            !ms_slice_word(&value, &hard) || !ms_slice_number(hard, false, &n) ||
            n != checks[i].want)
            ms_wall_missing(w, "\"%s\" is not %llu", checks[i].name,
                            (unsigned long long)checks[i].want);
    }
}

static void check_masked(ms_walls *w, ms_slice text)
{
    ms_slice line, path, state;
    size_t count = 0;
    while (ms_slice_line(&text, &line)) {
        if (!ms_slice_word(&line, &path) || !ms_slice_word(&line, &state))
            continue;
        count++;
        if (!ms_slice_is(state, "empty") && !ms_slice_is(state, "missing") &&
            !ms_slice_is(state, "denied") && !ms_slice_is(state, "readonly"))
            ms_wall_missing(w, "%.*s is not masked (%.*s)", (int)(path.n < 100 ? path.n : 100),
                            path.p, (int)(state.n < 20 ? state.n : 20), state.p);
    }
    if (count == 0)
        ms_wall_missing(w, "masked paths are unknown");
}

static void check_oom(ms_walls *w, ms_slice text)
{
    ms_slice line, word;
    uint64_t n;
    /* A negative number is no number here, and a missing wall. */
    if (!ms_slice_line(&text, &line) || !ms_slice_word(&line, &word) ||
        !ms_slice_number(word, false, &n) || n < MS_OOM_SCORE_ADJ)
        ms_wall_missing(w, "oom_score_adj is below %d", MS_OOM_SCORE_ADJ);
}

int ms_probe_verify(const ms_probe *p, const ms_container *c, const moonsand_engine_facts *facts,
                    moonsand_error **err)
{
    ms_walls w = {.c = c, .facts = facts};
    ms_slice item[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        item[i] = (ms_slice){p->items[i].data ? p->items[i].data : "", p->items[i].len};
        /* What cannot be seen counts as not there. A network namespace without IPv4 has no routes.
         */
        if (!p->seen[i] || (i != ROUTE && p->items[i].len == 0))
            ms_wall_missing(&w, "\"%s\" was not reported", item_names[i]);
    }
    check_status(&w, item[STATUS]);
    check_id(&w, item[ID]);
    ms_check_mounts(&w, item[MOUNTS]);
    check_network(&w, item[NET], item[ROUTE]);
    check_namespaces(&w, item[NS]);
    check_cgroup(&w, item[CGROUP]);
    check_rlimits(&w, item[LIMITS]);
    check_masked(&w, item[MASKED]);
    check_oom(&w, item[OOM]);
    int rc = 0;
    if (w.nomem)
        rc = ms_fail_nomem(err);
    else if (w.count)
        rc = ms_fail(err, MOONSAND_E_ISOLATION,
                     "self-check: the engine did not apply what was asked for (%u): %s%s", w.count,
                     w.text.data, w.count > SHOWN_MAX ? "; ..." : "");
    ms_buf_free(&w.text);
    return rc;
}
