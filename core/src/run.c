#include "run.h"

#include <string.h>
#include <unistd.h>

#include "error.h"
#include "json.h"
#include "removal.h"

#define CREATE_PATIENCE                                                                            \
    (5 * MS_S) /* of one who has cancelled, with an engine that does not answer */

/* ---- lifetime ----------------------------------------------------------------------------- */

static void free_strings(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ms_free(list[i]);
    ms_free(list);
}

/* The container, its connection and its uid go to the background. */
static void give_up_container(moonsand_run *r, bool force)
{
    moonsand_engine *e = r->engine;
    ms_timer_stop(&r->deadline);
    ms_timer_stop(&r->wake);
    ms_layer_unwant(&r->waiter);
    if (r->phase == MS_CREATING && r->call) /* the engine may still be about to create it */
        ms_removal_unsure(r->removal);
    ms_http_cancel(r->start_call);
    ms_http_cancel(r->call);
    r->start_call = r->call = NULL;
    if (r->removal) {
        ms_removal_start(r->removal, e, r->stream, r->uid_fd, force);
    } else {
        ms_stream_free(r->stream);
        if (r->uid_fd >= 0)
            close(r->uid_fd);
    }
    r->removal = NULL;
    r->stream = NULL;
    r->uid_fd = -1;
}

static void leave_engine(moonsand_run *r)
{
    moonsand_engine *e = r->engine;
    if (r->prev)
        r->prev->next = r->next;
    else
        e->runs = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->prev = r->next = NULL;
    r->engine = NULL;
    r->phase = MS_DONE;
}

static void destroy(moonsand_run *r)
{
    ms_sandbox_unref(r->sandbox);
    ms_agent_decoder_free(r->decoder);
    ms_probe_free(r->probe);
    moonsand_error_free(r->error);
    free_strings(r->argv, r->argc);
    free_strings(r->env, r->envc);
    ms_buf_free(&r->files);
    ms_buf_free(&r->input);
    ms_free(r->check_key);
    ms_free(r->name);
    ms_outcome_free(&r->outcome);
    ms_free(r);
}

void ms_run_orphan(moonsand_run *r)
{
    bool freed = r->freed;
    give_up_container(r, true);
    leave_engine(r);
    if (freed)
        destroy(r);
}

void moonsand_run_free(moonsand_run *r)
{
    if (!r)
        return;
    if (!r->engine) {
        destroy(r);
        return;
    }
    r->freed = true;
    /* In CREATING, whether the engine creates it is known only when the call has ended; a removal
     * by name could come before the creation. */
    if (r->phase != MS_CREATING && !r->busy)
        ms_run_orphan(r);
}

/* ---- the end ------------------------------------------------------------------------------ */

void ms_run_fail(moonsand_run *r, moonsand_error *err)
{
    bool freed = r->freed;
    give_up_container(r, true);
    leave_engine(r);
    if (freed) {
        moonsand_error_free(err);
        destroy(r);
    } else if (r->opt.on_done) {
        r->opt.on_done(r->opt.arg, r, NULL, err);
    } else {
        moonsand_error_free(err);
    }
}

static const char *why(const moonsand_run *r, moonsand_status s)
{
    switch (s) {
    case MOONSAND_S_TAMPERED:
        return "the agent's protocol was broken; nothing of this run can be trusted";
    case MOONSAND_S_LOST:
        return "the connection to the container ended without the agent's record";
    case MOONSAND_S_CANCELLED:
        return "cancelled by the caller";
    case MOONSAND_S_TIMEOUT:
        return r->ending.timed_out
                   ? "time limit reached; the agent did not answer and the container "
                     "was killed"
                   : "time limit reached";
    case MOONSAND_S_OOM:
        return "killed by the kernel: memory limit reached";
    case MOONSAND_S_OUTPUT_LIMIT:
        return r->final.killed == MS_KILLED_STDERR ? "stderr limit reached"
                                                   : "stdout limit reached";
    default:
        return "";
    }
}

void ms_run_finish(moonsand_run *r)
{
    bool record = r->ending.final != NULL;
    moonsand_status status = ms_verdict(&r->ending);
    /* A record without what was applied to it is none; and a cancelling that nobody asked for is
     * stdin that could not be passed on (ms_run_pump_stdin). */
    if ((record && !r->outcome.isolation.len) ||
        (status == MOONSAND_S_CANCELLED && !r->cancel_asked && !r->freed)) {
        moonsand_error *err = NULL;
        ms_fail_nomem(&err);
        ms_error_op(&err, "run");
        ms_run_fail(r, err);
        return;
    }
    ms_outcome *o = &r->outcome;
    int64_t now = ms_now_ns(), wall = record ? (int64_t)r->final.wall_ns : 0;
    if (!record && r->started) {
        wall = now - r->started;
        o->result.wall_ns = (uint64_t)wall;
    }
    const char *text = why(r, status);
    size_t n = strlen(text);
    memcpy(o->reason, text, n + 1);
    if (r->diagnosis[0] && !record) {
        memcpy(o->reason + n, ": ", 3);
        memcpy(o->reason + n + 2, r->diagnosis, strlen(r->diagnosis) + 1);
    }
    o->container = r->name;
    r->name = NULL;
    ms_outcome_finish(o, &r->caps, status, r->ending.final);
    moonsand_result *res = &o->result;
    int64_t total = now - r->began;
    res->overhead_ns = total > wall ? (uint64_t)(total - wall) : 0;
    res->create_ns = r->attached ? (uint64_t)(r->attached - r->began) : 0;
    res->start_ns = r->started ? (uint64_t)(r->started - r->attached) : 0;
    res->finish_ns =
        r->started && now > r->started + wall ? (uint64_t)(now - r->started - wall) : 0;
    bool freed = r->freed;
    /* With the agent's record it is about to exit by itself. */
    give_up_container(r, !record || r->ending.tampered);
    leave_engine(r);
    if (freed)
        destroy(r);
    else if (r->opt.on_done)
        r->opt.on_done(r->opt.arg, r, res, NULL);
}

/* ---- start -------------------------------------------------------------------------------- */

static int copy_strings(char ***out, size_t *count, const char *const *list, size_t n)
{
    *out = ms_calloc(n + 1, sizeof **out);
    if (!*out)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!((*out)[i] = ms_strdup(list[i])))
            return -1;
        ++*count;
    }
    return 0;
}

static int check_strings(const char *what, const char *const *list, size_t n, bool env,
                         moonsand_error **err)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (!list[i] || (env && (!strchr(list[i], '=') || list[i][0] == '=')))
            return ms_fail(err, MOONSAND_E_INVALID, "%s[%zu] is not %s", what, i,
                           env ? "NAME=value" : "a string");
        total += strlen(list[i]) + 8;
    }
    if (n > 4096 || total > MS_PROTO_MAX / 4)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "%s is too long (%zu items, %zu bytes); use a file or stdin", what, n,
                       total);
    return 0;
}

static int copy_request(moonsand_run *r, const moonsand_run_options *o, moonsand_error **err)
{
    if (o->version != 1 || !o->argc || !o->argv)
        return ms_fail(err, MOONSAND_E_INVALID, "run: argv is required");
    if (check_strings("argv", o->argv, o->argc, false, err) ||
        check_strings("env", o->env, o->envc, true, err))
        return -1;
    if (!o->argv[0][0])
        return ms_fail(err, MOONSAND_E_INVALID, "argv[0] is empty; name a program");
    uint64_t total = 0;
    for (size_t i = 0; i < o->file_count; i++) {
        const moonsand_file *f = &o->files[i];
        if (!f->path || !ms_agent_path_ok(f->path, strlen(f->path))) {
            char name[128];
            ms_printable(name, sizeof name, f->path ? f->path : "", f->path ? strlen(f->path) : 0);
            return ms_fail(err, MOONSAND_E_INVALID,
                           "file name \"%s\" cannot be used inside: give a relative path in UTF-8 "
                           "without \"..\" and control characters",
                           name);
        }
        total += f->len;
        if (total > r->sandbox->limits.disk_bytes)
            return ms_fail(err, MOONSAND_E_INVALID,
                           "the input files (%llu bytes or more) do not fit in disk = %llu bytes; "
                           "raise disk",
                           (unsigned long long)total,
                           (unsigned long long)r->sandbox->limits.disk_bytes);
        if (ms_agent_put_file(&r->files, f->path, f->mode ? f->mode : 0644, f->data, f->len))
            return ms_fail_nomem(err);
    }
    if (copy_strings(&r->argv, &r->argc, o->argv, o->argc) ||
        copy_strings(&r->env, &r->envc, o->env, o->envc) ||
        (o->stdin_mode == MOONSAND_STDIN_BYTES &&
         ms_buf_add(&r->input, o->stdin_data, o->stdin_len)))
        return ms_fail_nomem(err);
    return 0;
}

static void wake_prepare(void *arg)
{
    ms_run_prepare(arg);
}

int moonsand_run_start(moonsand_run **out, moonsand_sandbox *sandbox,
                       const moonsand_run_options *options, moonsand_error **err)
{
    *out = NULL;
    if (!sandbox->engine)
        return ms_fail(err, MOONSAND_E_CLOSED, "the sandbox's engine was closed");
    const ms_limits *l = &sandbox->limits;
    uint64_t wall = options->timeout_ns ? options->timeout_ns : l->timeout_ns;
    if (wall < 50 * (uint64_t)MS_MS)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "timeout is %.3g s; no program can start in that: give at least 0.05 s",
                       (double)wall / 1e9);
    if (wall > l->timeout_ns)
        return ms_fail(
            err, MOONSAND_E_INVALID,
            "timeout %.3g s is longer than the sandbox's %.3g s; a run can only be shorter",
            (double)wall / 1e9, (double)l->timeout_ns / 1e9);
    moonsand_run *r = ms_calloc(1, sizeof *r);
    if (!r)
        return ms_fail_nomem(err);
    r->began = ms_now_ns();
    r->uid_fd = -1;
    r->final.exit_code = -1;
    r->sandbox = sandbox;
    ms_sandbox_ref(sandbox);
    r->opt = *options;
    r->wall_limit_ns = wall;
    r->credit = MS_PROTO_STDIN_CREDIT;
    r->input_closed = options->stdin_mode != MOONSAND_STDIN_STREAM;
    r->caps = (ms_outcome_limits){.stdout_bytes = l->stdout_bytes,
                                  .stderr_bytes = l->stderr_bytes,
                                  .artefact_bytes = l->artefact_bytes,
                                  .artefact_count = l->artefact_count,
                                  .value_bytes = l->value_bytes,
                                  .keep_stdout = !(options->on_output && options->stream_stdout),
                                  .keep_stderr = !(options->on_output && options->stream_stderr)};
    if (copy_request(r, options, err) || ms_agent_decoder_new(&r->decoder, err)) {
        destroy(r);
        return -1;
    }
    moonsand_engine *e = r->engine = sandbox->engine;
    r->next = e->runs;
    if (r->next)
        r->next->prev = r;
    e->runs = r;
    ms_timer_start(&r->wake, e->loop, 0, wake_prepare, r);
    *out = r;
    return 0;
}

/* ---- what the caller can do with it ------------------------------------------------------- */

int moonsand_run_write(moonsand_run *r, const void *data, size_t len, size_t *taken,
                       moonsand_error **err)
{
    *taken = 0;
    if (r->opt.stdin_mode != MOONSAND_STDIN_STREAM || r->input_closed)
        return ms_fail(err, MOONSAND_E_CLOSED, "stdin of this run is closed");
    if (!r->engine)
        return ms_fail(err, MOONSAND_E_CLOSED, "the run has ended");
    size_t room = r->input.len < MS_PROTO_STDIN_CREDIT ? MS_PROTO_STDIN_CREDIT - r->input.len : 0;
    size_t n = len < room ? len : room;
    if (n && ms_buf_add(&r->input, data, n))
        return ms_fail_nomem(err);
    *taken = n;
    ms_run_pump_stdin(r);
    return 0;
}

void moonsand_run_close_stdin(moonsand_run *r)
{
    r->input_closed = true;
    if (r->engine)
        ms_run_pump_stdin(r);
}

static void wake_kill(void *arg)
{
    ms_run_kill(arg);
}

static void give_up_creating(void *arg)
{
    moonsand_run *r = arg;
    r->ending.cancelled = true;
    ms_run_finish(r);
}

void moonsand_run_cancel(moonsand_run *r)
{
    if (!r->engine || r->cancel_asked)
        return;
    r->cancel_asked = true;
    /* In CREATING the answer says what there is to remove, so it is worth some waiting; PREPARING
     * and all else can go from the next step. */
    if (r->phase == MS_CREATING)
        ms_timer_start(&r->deadline, r->engine->loop, CREATE_PATIENCE, give_up_creating, r);
    else
        ms_timer_start(&r->wake, r->engine->loop, 0, wake_kill, r);
}

const char *moonsand_run_phase(const moonsand_run *r)
{
    static const char *const names[] = {"preparing", "creating", "starting", "starting",
                                        "running",   "ending",   "done"};
    return names[r->phase];
}
