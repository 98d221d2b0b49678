/* Workers on the real engines: containers that are ready ahead of the runs, used once or by a fork
 * server many times. */
#include "live.h"
#include "patience.h"
#include "tap.h"

#define EVENTS 512

typedef struct seen {
    live v;
    moonsand_pool_event_type type[EVENTS];
    moonsand_retire_reason reason[EVENTS];
    char name[EVENTS][64];
    size_t count;
    char error[256];
    int done, failed;
    moonsand_status status;
    char out[64], isolation[4096], container[64], why[256];
    uint64_t queue_ns, total_ns;
} seen;

static void on_pool(void *arg, const moonsand_pool_event *e)
{
    seen *s = arg;
    if (s->count == EVENTS)
        return;
    s->type[s->count] = e->type;
    s->reason[s->count] = e->reason;
    (void)snprintf(s->name[s->count], sizeof s->name[0], "%s", e->container);
    if (e->error)
        (void)snprintf(s->error, sizeof s->error, "%s", moonsand_error_message(e->error));
    s->count++;
}

static long count(const seen *s, moonsand_pool_event_type type)
{
    long n = 0;
    for (size_t i = 0; i < s->count; i++)
        n += s->type[i] == type;
    return n;
}

static long retired(const seen *s, moonsand_retire_reason reason)
{
    long n = 0;
    for (size_t i = 0; i < s->count; i++)
        n += s->type[i] == MOONSAND_POOL_RETIRED && s->reason[i] == reason;
    return n;
}

static void on_done(void *arg, moonsand_run *run, const moonsand_result *r, moonsand_error *err)
{
    seen *s = arg;
    s->done++;
    s->failed += err != NULL;
    if (err)
        (void)snprintf(s->why, sizeof s->why, "%s: %s",
                       moonsand_code_name(moonsand_error_code(err)), moonsand_error_message(err));
    if (r) {
        s->status = r->status;
        s->queue_ns = r->queue_ns;
        s->total_ns = r->overhead_ns + r->wall_ns;
        (void)snprintf(s->out, sizeof s->out, "%s", r->out.data);
        (void)snprintf(s->isolation, sizeof s->isolation, "%s", r->isolation);
        (void)snprintf(s->container, sizeof s->container, "%s", r->container);
    }
    moonsand_error_free(err);
    moonsand_run_free(run);
}

static moonsand_pool_stats stats(const seen *s)
{
    moonsand_pool_stats st = {.version = 1};
    moonsand_sandbox_pool_stats(s->v.sandbox, &st, NULL);
    return st;
}

static void drive_for(seen *s, int64_t ns)
{
    bool never = false;
    int64_t end = ms_now_ns() + ns;
    while (!never && ms_now_ns() < end) {
        moonsand_loop_wait(s->v.loop, end - ms_now_ns(), NULL);
        moonsand_loop_step(s->v.loop, NULL);
    }
}

/* Until so many are ready, nothing else is under way. */
static bool settle(seen *s, uint32_t ready)
{
    int64_t end = ms_now_ns() + patience(60 * MS_S);
    for (;;) {
        moonsand_pool_stats st = stats(s);
        if (st.ready == ready && !st.starting && !st.busy && !st.waiting)
            return true;
        if (ms_now_ns() > end)
            return false;
        moonsand_loop_wait(s->v.loop, 50 * MS_MS, NULL);
        moonsand_loop_step(s->v.loop, NULL);
    }
}

static bool until_done(seen *s, int n)
{
    int64_t end = ms_now_ns() + patience(60 * MS_S);
    while (s->done < n && ms_now_ns() < end) {
        moonsand_loop_wait(s->v.loop, 50 * MS_MS, NULL);
        moonsand_loop_step(s->v.loop, NULL);
    }
    return s->done >= n;
}

static moonsand_run *start(seen *s, const char *code)
{
    const char *argv[] = {"python3", "-c", code};
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 3;
    o.on_done = on_done;
    o.arg = s;
    moonsand_run *r = NULL;
    moonsand_run_start(&r, s->v.sandbox, &o, NULL);
    return r;
}

static moonsand_sandbox_options options(seen *s, const char *image, uint32_t workers)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = image;
    o.workers = workers;
    o.memory_bytes = 128 << 20;
    o.on_pool = on_pool;
    o.pool_arg = s;
    return o;
}

static void reset(seen *s)
{
    moonsand_sandbox_free(s->v.sandbox);
    s->v.sandbox = NULL;
    s->count = 0;
    s->done = s->failed = 0;
    s->error[0] = s->why[0] = '\0';
    int64_t end = ms_now_ns() + patience(20 * MS_S);
    while (moonsand_engine_pending(s->v.engine) && ms_now_ns() < end) {
        moonsand_loop_wait(s->v.loop, 50 * MS_MS, NULL);
        moonsand_loop_step(s->v.loop, NULL);
    }
}

static void used_once(seen *s, const char *name, const char *image)
{
    moonsand_sandbox_options o = options(s, image, 2);
    is_int(moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err), 0, "%s: two workers",
           name);
    ok(settle(s, 2), "%s: get ready", name);
    is_int(count(s, MOONSAND_POOL_READY), 2, "%s: which is told", name);
    char first[64];
    int right = 0, apart = 1;
    first[0] = '\0';
    int64_t most = 0;
    for (int i = 1; i <= 6; i++) {
        int64_t began = ms_now_ns();
        start(s, "import os\nprint(2+2, os.path.exists('/tmp/mark'))\nopen('/tmp/mark','w')");
        right += until_done(s, i) && s->status == MOONSAND_S_OK && strcmp(s->out, "4 False\n") == 0;
        apart = apart && strcmp(first, s->container) != 0;
        memcpy(first, s->container, sizeof first);
        if (ms_now_ns() - began > most)
            most = ms_now_ns() - began;
        settle(s, 2);
    }
    diag("%s: slowest hand-out to result: %.1f ms", name, (double)most / 1e6);
    is_int(right, 6, "%s: each run finds nothing of another", name);
    ok(apart, "%s: and has a container of its own", name);
    is_int(retired(s, MOONSAND_RETIRE_USED), 6, "%s: that is retired after it", name);
    ok(strstr(s->isolation, "\"mode\":\"container\"") &&
           strstr(s->isolation, "\"self_check\":true"),
       "%s: the walls are container mode's", name);
    ok(s->queue_ns < s->total_ns, "%s: the wait is told", name);
    moonsand_pool_stats st = stats(s);
    ok(st.runs == 6 && st.ready == 2 && st.hand_out.count == 6 && st.refill.count == 8 &&
           st.refill.p50_ns > 0 && st.retired[MOONSAND_RETIRE_USED] == 6,
       "%s: counted (%llu runs, %u ready, %llu refills)", name, (unsigned long long)st.runs,
       st.ready, (unsigned long long)st.refill.count);

    /* More than there are workers: each gets one in the end. */
    s->done = 0;
    for (int i = 0; i < 7; i++)
        start(s, "print(1)");
    ok(until_done(s, 7) && !s->failed, "%s: seven at a time: %s", name, s->why);
    ok(settle(s, 2), "%s: and two again after it", name);

    is_int(moonsand_sandbox_pool_resize(s->v.sandbox, 3, NULL), 0, "%s: three", name);
    ok(settle(s, 3), "%s: are ready", name);
    is_int(moonsand_sandbox_pool_resize(s->v.sandbox, 1, NULL), 0, "%s: one", name);
    ok(settle(s, 1) && retired(s, MOONSAND_RETIRE_RESIZED) == 2, "%s: the others go", name);

    /* Cancelled while it waits for a worker, and while it runs. */
    s->done = 0;
    moonsand_run *first_one = start(s, "import time\ntime.sleep(30)");
    moonsand_run *second = start(s, "import time\ntime.sleep(30)"), *third = start(s, "print(3)");
    is_str(moonsand_run_phase(third), "queued", "%s: a run that waits", name);
    moonsand_run_free(third);
    drive_for(s, 20 * MS_MS);
    moonsand_run_cancel(second);
    ok(until_done(s, 1) && s->status == MOONSAND_S_CANCELLED, "%s: is cancelled", name);
    moonsand_run_free(first_one);
    reset(s);
    is_int((long)moonsand_engine_pending(s->v.engine), 0, "%s: nothing is left", name);
}

static void on_answer(void *arg, int status, const char *body, size_t len, moonsand_error *err)
{
    (void)arg, (void)status, (void)body, (void)len;
    moonsand_error_free(err);
}

/* Idle containers that die are noticed and replaced. */
static void health(seen *s, const char *name, const char *image)
{
    moonsand_sandbox_options o = options(s, image, 1);
    o.max_age_ns = (uint64_t)(4 * MS_S);
    moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err);
    ok(settle(s, 1), "%s: one worker", name);
    char path[128];
    (void)snprintf(path, sizeof path, "/containers/%s/kill", s->name[s->count - 1]);
    moonsand_request *request = NULL;
    moonsand_request_options ro = MOONSAND_REQUEST_OPTIONS_INIT;
    ro.method = "POST";
    ro.path = path;
    ro.on_done = on_answer;
    is_int(moonsand_request_start(&request, s->v.engine, &ro, NULL), 0, "%s: killed from outside",
           name);
    int64_t end = ms_now_ns() + patience(20 * MS_S);
    while (count(s, MOONSAND_POOL_READY) < 2 && ms_now_ns() < end)
        drive_for(s, 20 * MS_MS);
    ok(count(s, MOONSAND_POOL_READY) >= 2 && retired(s, MOONSAND_RETIRE_HEALTH) == 1,
       "%s: is replaced", name);
    start(s, "print(5)");
    ok(until_done(s, 1) && strcmp(s->out, "5\n") == 0, "%s: and the next one runs", name);
    drive_for(s, patience(6 * MS_S));
    ok(retired(s, MOONSAND_RETIRE_AGE) >= 1 && stats(s).ready >= 1, "%s: an old one is replaced",
       name);
    is_int(retired(s, MOONSAND_RETIRE_HEALTH), 1, "%s: those that live answer", name);
    reset(s);
}

static void failures(seen *s, const char *name)
{
    moonsand_sandbox_options o = options(s, "moonsand.invalid/never/there:1", 2);
    moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err);
    start(s, "print(5)");
    ok(until_done(s, 1) && s->failed == 1, "%s: no such image: %s", name, s->why);
    ok(strncmp(s->why, "not_found", 9) == 0, "%s: and the run is told so", name);
    drive_for(s, MS_S);
    ok(count(s, MOONSAND_POOL_FAILED) >= 2 && count(s, MOONSAND_POOL_FAILED) < 14,
       "%s: it is tried again, but not all the time (%ld)", name, count(s, MOONSAND_POOL_FAILED));
    reset(s);
}

/* The handle goes while runs wait: they still have their workers. */
static void freed(seen *s, const char *name, const char *image)
{
    moonsand_sandbox_options o = options(s, image, 1);
    moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err);
    for (int i = 0; i < 4; i++)
        start(s, "print(6)");
    moonsand_sandbox_free(s->v.sandbox);
    s->v.sandbox = NULL;
    ok(until_done(s, 4) && !s->failed && strcmp(s->out, "6\n") == 0,
       "%s: runs of a sandbox that is gone: %s", name, s->why);
    is_int((long)s->count, 0, "%s: without events", name);
    reset(s);
    is_int((long)moonsand_engine_pending(s->v.engine), 0, "%s: nothing is left", name);
}

static void run_one(seen *s, const char *code, const char *key)
{
    const char *argv[] = {"python3", "-c", code};
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 3;
    o.on_done = on_done;
    o.arg = s;
    o.trust_key = key;
    moonsand_run *r = NULL;
    s->done = 0;
    s->out[0] = '\0';
    s->status = MOONSAND_S_LOST;
    moonsand_run_start(&r, s->v.sandbox, &o, NULL);
    until_done(s, 1);
}

#define MARK                                                                                       \
    "import os\nprint(os.path.exists('/tmp/mark'), 'mark' in globals())\n"                         \
    "mark = open('/tmp/mark', 'w')"

/* A fork server: one container for many runs. */
static void many_runs(seen *s, const char *name, const char *image)
{
    static const char *const modules[] = {"json"};
    moonsand_sandbox_options o = options(s, image, 1);
    o.mode = MOONSAND_MODE_FORK;
    o.require = MOONSAND_TIER_NAMESPACES;
    o.preload = modules;
    o.preload_count = 1;
    o.preload_script = "import random\nimport string";
    o.max_runs = 20;
    is_int(moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err), 0,
           "%s: a worker with a fork server", name);
    ok(settle(s, 1), "%s: gets ready: %s", name, s->error);
    ok(stats(s).tier == MOONSAND_TIER_NAMESPACES && stats(s).mode == MOONSAND_MODE_FORK,
       "%s: with namespaces", name);
    run_one(s, MARK "\nimport sys\nprint('json' in sys.modules and 'string' in sys.modules)", NULL);
    is_str(s->out, "False False\nTrue\n", "%s: what is preloaded is there", name);
    char first[64];
    memcpy(first, s->container, sizeof first);
    ok(strstr(s->isolation, "\"mode\":\"fork\"") && strstr(s->isolation, "\"worker_runs\":0") &&
           strstr(s->isolation, "\"tier\":\"namespaces\"") && strstr(s->isolation, "\"mnt\"") &&
           strstr(s->isolation, "\"trust_key\":null"),
       "%s: the isolation says what was applied", name);
    run_one(s, MARK, NULL);
    ok(settle(s, 1) && strcmp(s->out, "False False\n") == 0 && strcmp(first, s->container) == 0 &&
           strstr(s->isolation, "\"worker_runs\":1"),
       "%s: the next run is in the same container and finds nothing of the first", name);
    is_int(count(s, MOONSAND_POOL_RETURNED), 2, "%s: it comes back after each", name);

    static const struct {
        const char *code;
        moonsand_status status;
    } ends[] = {{"import sys; sys.exit(3)", MOONSAND_S_EXIT},
                {"import os; os.kill(os.getpid(), 9)", MOONSAND_S_SIGNAL},
                {"import os; os.abort()", MOONSAND_S_SIGNAL},
                {"import os; os.execvp('true', ['true'])", MOONSAND_S_OK},
                {"print(7)", MOONSAND_S_OK}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        run_one(s, ends[i].code, NULL);
        is_str(moonsand_status_name(s->status), moonsand_status_name(ends[i].status), "%s: %s %s",
               name, ends[i].code, s->why);
    }
    is_str(s->container, first, "%s: all in the same container", name);

    /* Cancelled while it runs: the container stays. */
    s->done = 0;
    moonsand_run *r = start(s, "import time\ntime.sleep(30)");
    int64_t end = ms_now_ns() + patience(20 * MS_S);
    while (strcmp(moonsand_run_phase(r), "running") != 0 && ms_now_ns() < end)
        drive_for(s, 5 * MS_MS);
    moonsand_run_cancel(r);
    ok(until_done(s, 1) && s->status == MOONSAND_S_CANCELLED, "%s: cancelled", name);
    run_one(s, "print(8)", NULL);
    ok(strcmp(s->out, "8\n") == 0 && strcmp(s->container, first) == 0, "%s: and the next one runs",
       name);

    /* Another key, another container; and back. */
    run_one(s, MARK, "alice");
    ok(strcmp(s->container, first) != 0 && retired(s, MOONSAND_RETIRE_KEY) == 1 &&
           strstr(s->isolation, "\"trust_key\":\"alice\""),
       "%s: another trust key has another container: %s", name, s->why);
    run_one(s, MARK, "bob");
    ok(retired(s, MOONSAND_RETIRE_KEY) == 2 && strcmp(s->out, "False False\n") == 0,
       "%s: and the third one, too", name);

    /* max_runs */
    memcpy(first, s->container, sizeof first);
    int right = 0;
    for (int i = 0; i < 25; i++) {
        run_one(s, "print(9)", "bob");
        right += strcmp(s->out, "9\n") == 0;
    }
    ok(right == 25 && retired(s, MOONSAND_RETIRE_RUNS) == 1 && strcmp(s->container, first) != 0,
       "%s: a worker is replaced after max_runs (%d right, %ld retired)", name, right,
       retired(s, MOONSAND_RETIRE_RUNS));
    run_one(s, "x = b'x' * (1 << 30)", "bob");
    is_str(moonsand_status_name(s->status), "oom", "%s: memory", name);
    ok(settle(s, 1) && retired(s, MOONSAND_RETIRE_OOM) == 1, "%s: which retires the worker", name);
    run_one(s, "print(10)", "bob");
    is_str(s->out, "10\n", "%s: the next one runs", name);
    reset(s);
    is_int((long)moonsand_engine_pending(s->v.engine), 0, "%s: nothing is left", name);
}

static void preload_failures(seen *s, const char *name, const char *image)
{
    static const char *const modules[] = {"no_such_module"};
    moonsand_sandbox_options o = options(s, image, 1);
    o.mode = MOONSAND_MODE_FORK;
    o.preload = modules;
    o.preload_count = 1;
    moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err);
    run_one(s, "print(1)", NULL);
    ok(s->failed == 1 && strncmp(s->why, "exec: ", 6) == 0 && strstr(s->why, "no_such_module"),
       "%s: preload: %s", name, s->why);
    ok(strstr(s->error, "no_such_module") != NULL, "%s: events say it as well", name);
    reset(s);
}

/* A container with a fork server for one run each. */
static void preloaded_once(seen *s, const char *name, const char *image)
{
    static const char *const modules[] = {"json"};
    moonsand_sandbox_options o = options(s, image, 1);
    o.preload = modules;
    o.preload_count = 1;
    moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err);
    ok(settle(s, 1), "%s: preloaded: %s", name, s->error);
    char first[64];
    run_one(s, "import sys\nprint('json' in sys.modules)", NULL);
    memcpy(first, s->container, sizeof first);
    is_str(s->out, "True\n", "%s: it is there", name);
    ok(strstr(s->isolation, "\"mode\":\"container\"") && strstr(s->isolation, "\"preloaded\":true"),
       "%s: and said", name);
    ok(settle(s, 1), "%s: the next is made", name);
    run_one(s, "print(2)", NULL);
    ok(settle(s, 1) && strcmp(first, s->container) != 0 && retired(s, MOONSAND_RETIRE_USED) == 2,
       "%s: each is used once", name);
    reset(s);
}

static void on_engine(const char *name, const char *url, const char *image)
{
    static seen s;
    memset(&s, 0, sizeof s);
    if (!url || !image) {
        skip("%s: no engine was given (MOONSAND_TEST_%s)", name, name);
        return;
    }
    if (live_open(&s.v, url)) {
        fail("%s: opens: %s", name, moonsand_error_message(s.v.err));
    } else {
        used_once(&s, name, image);
        health(&s, name, image);
        failures(&s, name);
        freed(&s, name, image);
        many_runs(&s, name, image);
        preload_failures(&s, name, image);
        preloaded_once(&s, name, image);
    }
    live_close(&s.v);
}

int main(void)
{
    const char *image = getenv("MOONSAND_TEST_IMAGE");
    on_engine("DOCKER", getenv("MOONSAND_TEST_DOCKER"), image);
    on_engine("PODMAN", getenv("MOONSAND_TEST_PODMAN"), image);
    return done_testing();
}
