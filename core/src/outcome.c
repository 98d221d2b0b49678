#include "outcome.h"

#include <string.h>

#include "error.h"

#define REJECTED_MAX 1000 /* the agent tells fewer */

static int output(ms_buf *kept, moonsand_output *o, uint64_t max, bool keep,
                  const ms_agent_event *ev)
{
    if (ev->len > max || o->bytes > max - ev->len)
        return -1;
    o->bytes += ev->len;
    return keep && ms_buf_add(kept, ev->data, ev->len) ? -2 : 0;
}

static int grow(void *list, size_t item, size_t count, size_t *cap)
{
    if (count < *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 8;
    void **p = list;
    void *bigger = ms_realloc(*p, more * item);
    if (!bigger)
        return -2;
    *p = bigger;
    *cap = more;
    return 0;
}

static int artefact_begin(ms_outcome *o, const ms_outcome_limits *l, const ms_agent_event *ev)
{
    size_t n = strlen(ev->path);
    if (o->artefact_path || o->result.artefact_count >= l->artefact_count ||
        !ms_agent_path_ok(ev->path, n))
        return -1;
    for (size_t i = 0; i < o->result.artefact_count; i++) {
        if (strcmp(o->artefacts[i].path, ev->path) == 0)
            return -1;
    }
    if (!(o->artefact_path = ms_strndup(ev->path, n)))
        return -2;
    o->artefact_mode = (uint32_t)ev->number & 0777;
    return 0;
}

static int artefact_data(ms_outcome *o, const ms_outcome_limits *l, const ms_agent_event *ev)
{
    if (!o->artefact_path || ev->len > l->artefact_bytes ||
        o->artefact_total > l->artefact_bytes - ev->len)
        return -1;
    o->artefact_total += ev->len;
    return ms_buf_add(&o->artefact, ev->data, ev->len) ? -2 : 0;
}

static int reject(ms_outcome *o, const char *path, const char *reason)
{
    if (o->result.rejected_count >= REJECTED_MAX)
        return -1;
    if (grow(&o->rejected, sizeof *o->rejected, o->result.rejected_count, &o->rejected_cap))
        return -2;
    char name[512], why[64];
    ms_printable(name, sizeof name, path, strlen(path));
    ms_printable(why, sizeof why, reason, strlen(reason));
    char *a = ms_strdup(name), *b = ms_strdup(why);
    if (!a || !b) {
        ms_free(a);
        ms_free(b);
        return -2;
    }
    o->rejected[o->result.rejected_count++] = (moonsand_rejected){a, b};
    return 0;
}

static int artefact_end(ms_outcome *o, const ms_agent_event *ev)
{
    if (!o->artefact_path || ev->number != o->artefact.len)
        return -1;
    int rc = 0;
    if (ev->reason) {
        rc = reject(o, o->artefact_path, ev->reason);
        ms_free(o->artefact_path);
        ms_buf_free(&o->artefact);
    } else if (grow(&o->artefacts, sizeof *o->artefacts, o->result.artefact_count,
                    &o->artefact_cap)) {
        return -2;
    } else {
        o->artefacts[o->result.artefact_count++] = (moonsand_artefact){
            o->artefact_path, o->artefact.data, o->artefact.len, o->artefact_mode};
    }
    o->artefact_path = NULL;
    o->artefact = (ms_buf){0};
    return rc;
}

int ms_outcome_event(ms_outcome *o, const ms_outcome_limits *l, const ms_agent_event *ev)
{
    switch (ev->type) {
    case MS_F_STDOUT:
        return output(&o->out, &o->result.out, l->stdout_bytes, l->keep_stdout, ev);
    case MS_F_STDERR:
        return output(&o->err, &o->result.err, l->stderr_bytes, l->keep_stderr, ev);
    case MS_F_VALUE:
        o->has_value = true;
        if (ev->len > l->value_bytes || o->value.len > l->value_bytes - ev->len)
            return -1;
        return ms_buf_add(&o->value, ev->data, ev->len) ? -2 : 0;
    case MS_F_ARTEFACT:
        return artefact_begin(o, l, ev);
    case MS_F_ARTEFACT_DATA:
        return artefact_data(o, l, ev);
    case MS_F_ARTEFACT_END:
        return artefact_end(o, ev);
    case MS_F_REJECTED:
        return reject(o, ev->path, ev->reason ? ev->reason : "");
    default:
        return 0;
    }
}

void ms_outcome_finish(ms_outcome *o, const ms_outcome_limits *l, moonsand_status status,
                       const ms_agent_final *f)
{
    moonsand_result *r = &o->result;
    r->version = 1;
    r->status = status;
    r->exit_code = f ? f->exit_code : -1;
    r->signal = f ? f->signal : 0;
    r->out.data = l->keep_stdout ? (o->out.data ? o->out.data : "") : NULL;
    r->out.len = o->out.len;
    r->err.data = l->keep_stderr ? (o->err.data ? o->err.data : "") : NULL;
    r->err.len = o->err.len;
    if (f) {
        r->out.truncated = f->stdout_bytes > r->out.bytes;
        r->err.truncated = f->stderr_bytes > r->err.bytes;
        r->out.bytes = f->stdout_bytes > r->out.bytes ? f->stdout_bytes : r->out.bytes;
        r->err.bytes = f->stderr_bytes > r->err.bytes ? f->stderr_bytes : r->err.bytes;
        r->wall_ns = f->wall_ns;
        r->cpu_ns = f->cpu_ns;
        r->memory_peak = f->memory_peak;
        r->oom_kills = f->oom_kills;
        r->stragglers_killed = f->stragglers;
        r->pids_refused = f->pids_refused;
        r->reports_dropped = f->reports_dropped;
    }
    r->artefacts = o->artefacts;
    r->rejected = o->rejected;
    r->value = o->has_value ? (o->value.data ? o->value.data : "") : NULL;
    r->value_len = o->value.len;
    r->reason = o->reason;
    r->isolation = o->isolation.len ? o->isolation.data : "{}";
    r->image = o->image ? o->image : "";
    r->container = o->container ? o->container : "";
}

void ms_outcome_free(ms_outcome *o)
{
    for (size_t i = 0; i < o->result.artefact_count; i++) {
        ms_free((char *)(uintptr_t)o->artefacts[i].path);
        ms_free((char *)(uintptr_t)o->artefacts[i].data);
    }
    for (size_t i = 0; i < o->result.rejected_count; i++) {
        ms_free((char *)(uintptr_t)o->rejected[i].path);
        ms_free((char *)(uintptr_t)o->rejected[i].reason);
    }
    ms_free(o->artefacts);
    ms_free(o->rejected);
    ms_free(o->artefact_path);
    ms_buf_free(&o->artefact);
    ms_buf_free(&o->out);
    ms_buf_free(&o->err);
    ms_buf_free(&o->value);
    ms_buf_free(&o->isolation);
    ms_free(o->image);
    ms_free(o->container);
}

const char *moonsand_status_name(moonsand_status status)
{
    static const char *const names[] = {
#define MOONSAND_X(id, name, meaning) name,
        MOONSAND_STATUSES(MOONSAND_X)
#undef MOONSAND_X
    };
    size_t i = (size_t)status;
    return i < sizeof names / sizeof names[0] ? names[i] : "unknown";
}
