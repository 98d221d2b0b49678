/* The agent's frames, all taken as hostile. */
#include "agent.h"

#include <string.h>

#include "error.h"

bool ms_agent_path_ok(const char *path, size_t len)
{
    return ms_proto_path_ok(path, len);
}

_Static_assert(MS_REPORT_MAX == MOONSAND_REPORT_MAX && MS_REPORTS_MAX == MOONSAND_REPORTS_MAX &&
                   MS_REPORTS_BYTES_MAX == MOONSAND_REPORTS_BYTES_MAX,
               "the agent's bounds are those that callers are told");

#define FIELDS_MAX 16384 /* payload of a frame with fields, but PROBE */

/* Where the conversation is. IDLE and BETWEEN only with a fork server: a run may come, or the last
 * one has ended. */
enum stage {
    BEFORE_HELLO,
    AFTER_HELLO,
    AFTER_PROBE,
    IDLE,
    RUNNING,
    RESULTS,
    IN_ARTEFACT,
    BETWEEN,
    OVER,
    BROKEN
};

struct ms_agent_decoder {
    enum stage stage;
    bool server;
    unsigned char head[MS_PROTO_HEAD];
    size_t head_len;
    int type; /* of the frame under way, 0 none */
    uint32_t left;
    ms_buf fields;
    bool value_seen;
    uint64_t artefact_bytes, stdout_bytes, stderr_bytes, reports, report_bytes;
    int (*on_event)(void *arg, const ms_agent_event *ev);
    void *arg;
};

/* A frame's fields, by tag. */
struct fields {
    uint64_t present;
    uint64_t number[64];
    char *text[64];
    size_t len[64];
};

enum { TEXT, NUMBER };
static const struct rule {
    unsigned char type, tag, kind;
    bool needed;
    uint64_t max; /* of a number; bytes of a text */
} rules[] = {
    {MS_F_HELLO, MS_T_VERSION, NUMBER, true, UINT32_MAX},
    {MS_F_HELLO, MS_T_LANDLOCK, NUMBER, true, UINT32_MAX},
    {MS_F_CREDIT, MS_T_SIZE, NUMBER, true, MS_PROTO_STDIN_CREDIT},
    {MS_F_ARTEFACT, MS_T_PATH, TEXT, true, MS_PATH_MAX},
    {MS_F_ARTEFACT, MS_T_MODE, NUMBER, true, 0777},
    {MS_F_ARTEFACT_END, MS_T_SIZE, NUMBER, true, UINT64_MAX},
    {MS_F_ARTEFACT_END, MS_T_REASON, TEXT, false, 32},
    {MS_F_REJECTED, MS_T_PATH, TEXT, true, MS_PATH_MAX},
    {MS_F_REJECTED, MS_T_REASON, TEXT, true, 32},
    {MS_F_FAILED, MS_T_STAGE, TEXT, true, 32},
    {MS_F_FAILED, MS_T_ERRNO, NUMBER, true, 4095},
    {MS_F_FAILED, MS_T_MESSAGE, TEXT, true, MS_PATH_MAX},
    {MS_F_FINAL, MS_T_WALL_NS, NUMBER, true, INT64_MAX},
    {MS_F_FINAL, MS_T_CPU_NS, NUMBER, true, INT64_MAX},
    {MS_F_FINAL, MS_T_EXIT_CODE, NUMBER, false, 255},
    {MS_F_FINAL, MS_T_SIGNAL, NUMBER, false, 64},
    {MS_F_FINAL, MS_T_KILLED, NUMBER, true, MS_KILLED_HOST},
    {MS_F_FINAL, MS_T_OOM_KILLS, NUMBER, true, UINT32_MAX},
    {MS_F_FINAL, MS_T_MEMORY_PEAK, NUMBER, true, UINT64_MAX},
    {MS_F_FINAL, MS_T_PIDS_REFUSED, NUMBER, true, UINT64_MAX},
    {MS_F_FINAL, MS_T_STRAGGLERS, NUMBER, true, UINT32_MAX},
    {MS_F_FINAL, MS_T_STDOUT_BYTES, NUMBER, true, UINT64_MAX},
    {MS_F_FINAL, MS_T_STDERR_BYTES, NUMBER, true, UINT64_MAX},
    {MS_F_FINAL, MS_T_LANDLOCKED, NUMBER, true, 1},
    {MS_F_FINAL, MS_T_REPORTS_DROPPED, NUMBER, false, INT64_MAX},
    {MS_F_READY, MS_T_TIER, NUMBER, true, MS_TIER_NAMESPACES},
    {MS_F_READY, MS_T_NAMESPACES, TEXT, true, 64},
    {MS_F_READY, MS_T_MEMORY, NUMBER, true, UINT64_MAX},
    {MS_F_RETIRE, MS_T_REASON, TEXT, true, 32},
    {MS_F_RETIRE, MS_T_MESSAGE, TEXT, true, MS_PATH_MAX},
};

int ms_agent_decoder_new(ms_agent_decoder **out, moonsand_error **err)
{
    *out = ms_calloc(1, sizeof **out);
    return *out != NULL ? 0 : ms_fail_nomem(err);
}

void ms_agent_decoder_free(ms_agent_decoder *d)
{
    if (d == NULL)
        return;
    ms_buf_free(&d->fields);
    ms_free(d);
}

void ms_agent_decoder_serve(ms_agent_decoder *d)
{
    d->server = true;
}

static bool is_raw(int type)
{
    return type == MS_F_STDOUT || type == MS_F_STDERR || type == MS_F_VALUE ||
           type == MS_F_ARTEFACT_DATA;
}

static bool in_order(const ms_agent_decoder *d, int type)
{
    enum stage s = d->stage;
    bool greeted = s == AFTER_HELLO || s == AFTER_PROBE;
    bool asked = d->server ? s == IDLE : greeted; /* a run may have come */
    switch (type) {
    case MS_F_HELLO:
        return s == BEFORE_HELLO;
    case MS_F_PROBE:
        return s == AFTER_HELLO;
    case MS_F_READY:
        return d->server && (greeted || s == BETWEEN);
    case MS_F_RETIRE:
        return s == IDLE || s == BETWEEN;
    case MS_F_PONG:
    case MS_F_FAILED:
        return greeted || s == IDLE;
    case MS_F_STARTED:
        return asked;
    case MS_F_STDOUT:
    case MS_F_STDERR:
    case MS_F_CREDIT:
    case MS_F_REPORT:
        return s == RUNNING;
    case MS_F_VALUE:
        return (s == RUNNING || s == RESULTS) && !d->value_seen;
    case MS_F_ARTEFACT:
    case MS_F_REJECTED:
        return s == RUNNING || s == RESULTS;
    case MS_F_ARTEFACT_DATA:
    case MS_F_ARTEFACT_END:
        return s == IN_ARTEFACT;
    case MS_F_FINAL: /* without STARTED only in some cases: see take_final() */
        return asked || s == RUNNING || s == RESULTS;
    default:
        return false;
    }
}

static uint32_t longest(int type)
{
    if (type == MS_F_STARTED || type == MS_F_PONG)
        return 0;
    if (type == MS_F_REPORT)
        return MS_REPORT_MAX;
    return is_raw(type) || type == MS_F_PROBE ? MS_PROTO_MAX : FIELDS_MAX;
}

static const struct rule *find_rule(int type, int tag)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].type == type && rules[i].tag == tag)
            return &rules[i];
    return NULL;
}

static bool take_field(struct fields *f, const struct rule *rule, char *p, size_t len)
{
    unsigned int tag = rule->tag;
    if ((f->present & (uint64_t)1 << tag) != 0)
        return false;
    f->present |= (uint64_t)1 << tag;
    if (rule->kind == NUMBER) {
        if (len != 8)
            return false;
        f->number[tag] = ms_get_u64((const unsigned char *)p);
        return f->number[tag] <= rule->max;
    }
    f->text[tag] = p;
    f->len[tag] = len;
    return len <= rule->max && ms_text_ok(p, len);
}

/* Fields of the frame in d->fields. Each string gets its NUL where the next field's tag stood, the
 * last one where the buffer has its own. */
static bool take_fields(ms_agent_decoder *d, struct fields *f)
{
    char *p = d->fields.data;
    size_t left = d->fields.len;
    int tag = left > 0 ? (unsigned char)*p : 0;
    while (left > 0) {
        const struct rule *rule = find_rule(d->type, tag);
        if (rule == NULL || left < 5)
            return false;
        size_t len = ms_get_u32((const unsigned char *)p + 1);
        if (len > left - 5 || !take_field(f, rule, p + 5, len))
            return false;
        p += 5 + len;
        left -= 5 + len;
        tag = (unsigned char)*p;
        *p = '\0';
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].type == d->type && rules[i].needed &&
            (f->present & (uint64_t)1 << rules[i].tag) == 0)
            return false;
    return true;
}

static bool one_of(const char *text, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

static bool reason_ok(const char *text)
{
    static const char *const reasons[] = {"symlink", "size",    "count",      "special",
                                          "name",    "changed", "unreadable", NULL};
    return one_of(text, reasons);
}

static bool retire_ok(const char *text)
{
    static const char *const reasons[] = {MS_RETIRE_REASONS, NULL};
    return one_of(text, reasons);
}

/* A list of those that there are, with commas between, each at most once; or nothing. */
static bool namespaces_ok(const char *text)
{
    static const char *const names[] = {"user", "mnt", "pid", "ipc", "uts", "net", "cgroup"};
    enum { COUNT = sizeof names / sizeof *names };
    unsigned seen = 0;
    while (*text != '\0') {
        size_t n = strcspn(text, ","), i = 0;
        while (i < COUNT && (strlen(names[i]) != n || memcmp(text, names[i], n) != 0))
            i++;
        if (i == COUNT || (seen & 1u << i) != 0 || (text[n] == ',' && text[n + 1] == '\0'))
            return false;
        seen |= 1u << i;
        text += n + (text[n] == ',');
    }
    return true;
}

/* Items are "name\0text"; checked all before the first is handed on. */
static int take_probe(ms_agent_decoder *d)
{
    static const char *const names[] = {MS_PROBE_NAMES, NULL};
    for (int hand_on = 0; hand_on < 2; hand_on++) {
        const char *p = d->fields.data;
        size_t left = d->fields.len;
        while (left > 0) {
            if (left < 5 || p[0] != MS_T_PROBE)
                return -1;
            size_t len = ms_get_u32((const unsigned char *)p + 1);
            if (len > left - 5)
                return -1;
            const char *nul = len > 0 ? memchr(p + 5, 0, len) : NULL;
            if (nul == NULL || !one_of(p + 5, names))
                return -1;
            if (hand_on) {
                ms_agent_event ev = {.type = MS_F_PROBE, .path = p + 5, .data = nul + 1};
                ev.len = len - (size_t)(nul + 1 - (p + 5));
                int r = d->on_event(d->arg, &ev);
                if (r != 0)
                    return r;
            }
            p += 5 + len;
            left -= 5 + len;
        }
    }
    d->stage = AFTER_PROBE;
    return 0;
}

static int take_final(ms_agent_decoder *d, const struct fields *f)
{
    bool exited = (f->present & (uint64_t)1 << MS_T_EXIT_CODE) != 0;
    bool signalled = (f->present & (uint64_t)1 << MS_T_SIGNAL) != 0;
    bool ran = d->stage == RUNNING || d->stage == RESULTS;
    ms_agent_final final = {
        .wall_ns = f->number[MS_T_WALL_NS],
        .cpu_ns = f->number[MS_T_CPU_NS],
        .memory_peak = f->number[MS_T_MEMORY_PEAK],
        .pids_refused = f->number[MS_T_PIDS_REFUSED],
        .stdout_bytes = f->number[MS_T_STDOUT_BYTES],
        .stderr_bytes = f->number[MS_T_STDERR_BYTES],
        .oom_kills = (uint32_t)f->number[MS_T_OOM_KILLS],
        .stragglers = (uint32_t)f->number[MS_T_STRAGGLERS],
        .killed = (int)f->number[MS_T_KILLED],
        .exit_code = exited ? (int)f->number[MS_T_EXIT_CODE] : -1,
        .signal = (int)f->number[MS_T_SIGNAL],
        .landlocked = f->number[MS_T_LANDLOCKED] != 0,
        .reports_dropped = f->number[MS_T_REPORTS_DROPPED],
    };
    if (ran ? exited == signalled : exited || signalled || final.killed != MS_KILLED_HOST)
        return -1;
    if (signalled && final.signal == 0)
        return -1;
    /* Less read than was handed over cannot be. */
    if (final.stdout_bytes < d->stdout_bytes || final.stderr_bytes < d->stderr_bytes)
        return -1;
    d->stage = d->server ? BETWEEN : OVER;
    ms_agent_event ev = {.type = MS_F_FINAL, .final = &final};
    return d->on_event(d->arg, &ev);
}

static int take_failed(ms_agent_decoder *d, const struct fields *f)
{
    static const char *const stages[] = {"exec",     "file",    "request",   "limit",
                                         "landlock", "preload", "isolation", NULL};
    if (!one_of(f->text[MS_T_STAGE], stages))
        return -1;
    d->stage = OVER;
    ms_agent_event ev = {.type = MS_F_FAILED,
                         .stage = f->text[MS_T_STAGE],
                         .reason = f->text[MS_T_MESSAGE],
                         .number = f->number[MS_T_ERRNO]};
    return d->on_event(d->arg, &ev);
}

static int take_ready(ms_agent_decoder *d, const struct fields *f)
{
    if (!namespaces_ok(f->text[MS_T_NAMESPACES]))
        return -1;
    d->stage = IDLE;
    d->value_seen = false;
    d->artefact_bytes = d->stdout_bytes = d->stderr_bytes = 0;
    d->reports = d->report_bytes = 0;
    ms_agent_event ev = {.type = MS_F_READY,
                         .number = f->number[MS_T_TIER],
                         .namespaces = f->text[MS_T_NAMESPACES],
                         .memory = f->number[MS_T_MEMORY]};
    return d->on_event(d->arg, &ev);
}

static int take_retire(ms_agent_decoder *d, const struct fields *f)
{
    if (!retire_ok(f->text[MS_T_REASON]))
        return -1;
    d->stage = OVER;
    ms_agent_event ev = {
        .type = MS_F_RETIRE, .reason = f->text[MS_T_REASON], .message = f->text[MS_T_MESSAGE]};
    return d->on_event(d->arg, &ev);
}

static int take_report(ms_agent_decoder *d)
{
    d->report_bytes += d->fields.len;
    if (d->fields.len == 0 || ++d->reports > MS_REPORTS_MAX ||
        d->report_bytes > MS_REPORTS_BYTES_MAX)
        return -1;
    ms_agent_event ev = {.type = MS_F_REPORT, .data = d->fields.data, .len = d->fields.len};
    return d->on_event(d->arg, &ev);
}

/* A frame that is no stream's piece is complete. */
static int take_frame(ms_agent_decoder *d)
{
    if (d->type == MS_F_PROBE)
        return take_probe(d);
    if (d->type == MS_F_REPORT)
        return take_report(d);
    struct fields f = {0};
    if (!take_fields(d, &f))
        return -1;
    if (d->type == MS_F_RETIRE)
        return take_retire(d, &f);
    ms_agent_event ev = {.type = d->type, .path = f.text[MS_T_PATH], .reason = f.text[MS_T_REASON]};
    if (ev.reason != NULL && !reason_ok(ev.reason))
        return -1;
    switch (d->type) {
    case MS_F_HELLO:
        ev.number = f.number[MS_T_VERSION];
        ev.landlock = f.number[MS_T_LANDLOCK];
        d->stage = AFTER_HELLO;
        break;
    case MS_F_STARTED:
        d->stage = RUNNING;
        break;
    case MS_F_CREDIT:
        ev.number = f.number[MS_T_SIZE];
        if (ev.number == 0)
            return -1;
        break;
    case MS_F_ARTEFACT:
        ev.number = f.number[MS_T_MODE];
        if (!ms_agent_path_ok(ev.path, f.len[MS_T_PATH]))
            return -1;
        d->artefact_bytes = 0;
        d->stage = IN_ARTEFACT;
        break;
    case MS_F_ARTEFACT_END:
        ev.number = f.number[MS_T_SIZE];
        if (ev.number != d->artefact_bytes)
            return -1;
        d->stage = RESULTS;
        break;
    case MS_F_REJECTED:
        d->stage = RESULTS;
        break;
    case MS_F_PONG:
        break;
    case MS_F_FAILED:
        return take_failed(d, &f);
    case MS_F_READY:
        return take_ready(d, &f);
    default:
        return take_final(d, &f);
    }
    return d->on_event(d->arg, &ev);
}

static int take_head(ms_agent_decoder *d)
{
    int type = d->head[0];
    uint32_t len = ms_get_u32(d->head + 4);
    if ((d->head[1] | d->head[2] | d->head[3]) != 0 || !in_order(d, type) || len > longest(type))
        return -1;
    d->type = type;
    d->left = len;
    d->fields.len = 0;
    if (type == MS_F_VALUE) {
        d->value_seen = true;
        d->stage = RESULTS;
        if (len == 0) { /* an empty file is a value too, and no piece of it would tell */
            ms_agent_event ev = {.type = type, .data = ""};
            return d->on_event(d->arg, &ev);
        }
    }
    return 0;
}

static int take_raw(ms_agent_decoder *d, const char *p, size_t n)
{
    if (d->type == MS_F_STDOUT)
        d->stdout_bytes += n;
    else if (d->type == MS_F_STDERR)
        d->stderr_bytes += n;
    else if (d->type == MS_F_ARTEFACT_DATA)
        d->artefact_bytes += n;
    ms_agent_event ev = {.type = d->type, .data = p, .len = n};
    return d->on_event(d->arg, &ev);
}

static int feed(ms_agent_decoder *d, const char *p, size_t n)
{
    for (;;) {
        int r = 0;
        if (d->type == 0) {
            if (n == 0)
                return 0;
            if (d->stage == OVER)
                return -1;
            d->head[d->head_len++] = (unsigned char)*p++;
            n--;
            if (d->head_len < MS_PROTO_HEAD)
                continue;
            d->head_len = 0;
            r = take_head(d);
        }
        size_t part = n < d->left ? n : d->left;
        if (r == 0 && part > 0) {
            if (is_raw(d->type))
                r = take_raw(d, p, part);
            else if (ms_buf_add(&d->fields, p, part) < 0)
                r = -2;
        }
        if (r != 0)
            return r;
        p += part;
        n -= part;
        d->left -= (uint32_t)part;
        if (d->left > 0)
            return 0;
        if (!is_raw(d->type))
            r = take_frame(d);
        d->type = 0;
        if (r != 0)
            return r;
    }
}

int ms_agent_decoder_feed(ms_agent_decoder *d, const char *p, size_t n,
                          int (*on_event)(void *arg, const ms_agent_event *ev), void *arg)
{
    if (d->stage == BROKEN)
        return -1;
    d->on_event = on_event;
    d->arg = arg;
    int r = feed(d, p, n);
    /* After a failure the position in the stream is lost; after a stop the rest was thrown away. */
    if (r != 0)
        d->stage = BROKEN;
    return r;
}
