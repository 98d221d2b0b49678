#include "run.h"

#include <string.h>

#include "error.h"
#include "json.h"
#include "pool.h"

#define TRUST_KEY_MAX 256

/* ---- lifetime ----------------------------------------------------------------------------- */

static void free_strings(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ms_free(list[i]);
    ms_free(list);
}

/* What is known of the container's state goes to its owner. */
static void give_up_box(moonsand_run *r, ms_worker_use use)
{
    ms_timer_stop(&r->deadline);
    ms_timer_stop(&r->wake);
    if (r->queued)
        ms_pool_forget(r->sandbox->pool, r);
    if (r->worker)
        ms_pool_return(r->worker, use);
    else if (r->box)
        ms_box_release(r->box, use == MS_USE_RECORD ? MS_BOX_HANG_UP : MS_BOX_FORCE);
    r->worker = NULL;
    r->box = NULL;
}

void ms_run_again(moonsand_run *r)
{
    give_up_box(r, MS_USE_REFUSED);
    ms_free(r->outcome.image);
    ms_free(r->outcome.container);
    r->outcome.image = r->outcome.container = NULL;
    r->phase = MS_WAITING;
    ms_pool_add(r->sandbox->pool, r, true);
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
    moonsand_error_free(r->error);
    free_strings(r->argv, r->argc);
    free_strings(r->env, r->envc);
    ms_buf_free(&r->files);
    ms_buf_free(&r->input);
    ms_free(r->trust_key);
    ms_outcome_free(&r->outcome);
    ms_free(r);
}

void ms_run_orphan(moonsand_run *r)
{
    bool freed = r->freed;
    give_up_box(r, MS_USE_FAILED);
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
    if (!r->box || !r->box->busy)
        ms_run_orphan(r);
}

/* ---- the end ------------------------------------------------------------------------------ */

void ms_run_fail(moonsand_run *r, moonsand_error *err)
{
    bool freed = r->freed;
    give_up_box(r, MS_USE_FAILED);
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
    if (r->box && r->box->diagnosis[0] && !record) {
        memcpy(o->reason + n, ": ", 3);
        memcpy(o->reason + n + 2, r->box->diagnosis, strlen(r->box->diagnosis) + 1);
    }
    ms_outcome_finish(o, &r->caps, status, r->ending.final);
    moonsand_result *res = &o->result;
    int64_t total = now - r->began;
    res->overhead_ns = total > wall ? (uint64_t)(total - wall) : 0;
    res->create_ns = r->asked ? (uint64_t)(r->asked - r->began) : 0;
    res->start_ns = r->started ? (uint64_t)(r->started - r->asked) : 0;
    res->finish_ns =
        r->started && now > r->started + wall ? (uint64_t)(now - r->started - wall) : 0;
    bool freed = r->freed;
    give_up_box(r, r->ending.tampered ? MS_USE_TAMPERED
                   : record           ? MS_USE_RECORD
                   : r->ending.lost   ? MS_USE_LOST
                                      : MS_USE_FAILED);
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
    size_t key = o->trust_key ? strlen(o->trust_key) : 0;
    if (key > TRUST_KEY_MAX || (key && !ms_text_ok(o->trust_key, key)))
        return ms_fail(
            err, MOONSAND_E_INVALID,
            "trust_key is %zu bytes; give at most %d of UTF-8 without control characters", key,
            TRUST_KEY_MAX);
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
        (o->trust_key && !(r->trust_key = ms_strdup(o->trust_key))) ||
        (o->stdin_mode == MOONSAND_STDIN_BYTES &&
         ms_buf_add(&r->input, o->stdin_data, o->stdin_len)))
        return ms_fail_nomem(err);
    return 0;
}

static void box_ready(void *arg)
{
    ms_run_take(arg);
}

static void box_failed(void *arg, moonsand_error *err)
{
    moonsand_run *r = arg;
    if (err) {
        ms_run_fail(r, err);
        return;
    }
    r->ending.tampered = true;
    ms_run_finish(r);
}

/* From the sandbox's workers, or a container for this run alone. */
static void wake_begin(void *arg)
{
    moonsand_run *r = arg;
    if (r->sandbox->pool) {
        ms_pool_add(r->sandbox->pool, r, false);
        return;
    }
    moonsand_error *err = NULL;
    ms_box_events events = ms_run_box_events;
    events.on_ready = box_ready;
    events.on_failed = box_failed;
    events.arg = r;
    if (ms_box_new(&r->box, r->sandbox, false, (int64_t)r->wall_limit_ns, &events, &err)) {
        ms_error_op(&err, "run");
        ms_run_fail(r, err);
        return;
    }
    ms_box_launch(r->box);
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
    if (copy_request(r, options, err)) {
        destroy(r);
        return -1;
    }
    moonsand_engine *e = r->engine = sandbox->engine;
    r->next = e->runs;
    if (r->next)
        r->next->prev = r;
    e->runs = r;
    ms_timer_start(&r->wake, e->loop, 0, wake_begin, r);
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

void moonsand_run_cancel(moonsand_run *r)
{
    if (!r->engine || r->cancel_asked)
        return;
    r->cancel_asked = true;
    ms_timer_start(&r->wake, r->engine->loop, 0, wake_kill, r);
}

const char *moonsand_run_phase(const moonsand_run *r)
{
    static const char *const names[] = {"preparing", "starting", "running", "ending", "done"};
    if (r->phase == MS_WAITING && r->sandbox->pool)
        return "queued";
    if (r->phase != MS_WAITING || !r->box || r->box->state == MS_BOX_PREPARING)
        return names[r->phase];
    return r->box->state == MS_BOX_CREATING ? "creating" : "starting";
}
