/* Workers whose agent, or engine, does what a real one cannot be made to do. */
#include "engine.h"
#include "fake_agent.h"
#include "json.h"
#include "live.h"
#include "patience.h"
#include "sandbox.h"
#include "tap.h"

typedef struct seen {
    live v;
    fake server;
    fake_plan plan;
    int done, ok, retired[MOONSAND_RETIRE_COUNT], failed, fell_back;
    char why[256], isolation[4096], reports[256];
    uint64_t reported, dropped;
    bool listen; /* to reports */
    moonsand_status status;
    moonsand_code code;
} seen;

static void on_pool(void *arg, const moonsand_pool_event *e)
{
    seen *s = arg;
    if (e->type == MOONSAND_POOL_RETIRED)
        s->retired[e->reason]++;
    s->failed += e->type == MOONSAND_POOL_FAILED;
    s->fell_back += e->type == MOONSAND_POOL_FELL_BACK;
}

static void on_done(void *arg, moonsand_run *run, const moonsand_result *r, moonsand_error *err)
{
    seen *s = arg;
    s->done++;
    s->code = moonsand_error_code(err);
    (void)snprintf(s->why, sizeof s->why, "%s", err ? moonsand_error_message(err) : r->reason);
    if (r) {
        s->status = r->status;
        s->ok += r->status == MOONSAND_S_OK;
        s->reported = r->reports;
        s->dropped = r->reports_dropped;
        (void)snprintf(s->isolation, sizeof s->isolation, "%s", r->isolation);
    }
    moonsand_error_free(err);
    moonsand_run_free(run);
}

static void on_report(void *arg, const char *report, size_t len)
{
    seen *s = arg;
    size_t n = strlen(s->reports);
    (void)snprintf(s->reports + n, sizeof s->reports - n, "%.*s;", (int)len, report);
}

static void start(seen *s, const char *key)
{
    static const char *const argv[] = {"python3", "-c", "pass"};
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 3;
    o.on_done = on_done;
    o.arg = s;
    o.trust_key = key;
    o.on_report = s->listen ? on_report : NULL;
    moonsand_run *r = NULL;
    moonsand_run_start(&r, s->v.sandbox, &o, NULL);
}

static void drive_for(seen *s, int64_t ns)
{
    bool never = false;
    (void)fake_drive(s->v.loop, &never, ns);
}

static void until(seen *s, const int *what, int n)
{
    int64_t end = ms_now_ns() + patience(20 * MS_S);
    while (*what < n && ms_now_ns() < end)
        drive_for(s, 5 * MS_MS);
}

/* The self-check of such containers counts as passed: what it looks at is another test's. */
static void checked(const seen *s, bool server)
{
    moonsand_engine *e = s->v.engine;
    ms_container c = {.limits = &s->v.sandbox->limits,
                      .image_id = "sha256:run",
                      .name = "moonsand-0",
                      .owner = "0",
                      .lease_epoch_s = 1,
                      .uid = e->profile->uid_low,
                      .server = server};
    ms_buf path = {0}, body = {0};
    if (e->profile->create(&path, &body, &c, &e->facts, NULL) == 0)
        json_object_set_new(e->checked, body.data, json_true());
    ms_buf_free(&path);
    ms_buf_free(&body);
}

static void open_with(seen *s, uint32_t workers, moonsand_tier require, const enum fake_way *ways,
                      size_t count)
{
    memset(s, 0, sizeof *s);
    memcpy(s->plan.ways, ways, count * sizeof *ways);
    s->plan.count = count;
    fake_start(&s->server, false, fake_engine, &s->plan);
    char url[128];
    (void)snprintf(url, sizeof url, "unix://%s", s->server.path);
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "x";
    o.mode = MOONSAND_MODE_FORK;
    o.workers = workers;
    o.require = require;
    o.on_pool = on_pool;
    o.pool_arg = s;
    if (live_open(&s->v, url) || moonsand_sandbox_new(&s->v.sandbox, s->v.engine, &o, &s->v.err)) {
        fail("opens: %s", moonsand_error_message(s->v.err));
        return;
    }
    checked(s, true);
    checked(s, false);
}

#define OPEN(s, workers, require, ...)                                                             \
    do {                                                                                           \
        static const enum fake_way ways[] = {__VA_ARGS__};                                         \
        open_with(s, workers, require, ways, sizeof ways / sizeof *ways);                          \
    } while (0)

static void shut(seen *s)
{
    live_close(&s->v);
    fake_stop(&s->server);
}

/* ---- before a run -------------------------------------------------------------------------- */

static void test_start(seen *s)
{
    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_GOOD);
    start(s, NULL);
    start(s, NULL);
    until(s, &s->done, 2);
    ok(s->ok == 2 && strstr(s->isolation, "\"worker_runs\":1"), "good ones: %s", s->why);
    is_int(atomic_load(&s->plan.created), 1, "in one container");
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_NO_FORK);
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->ok == 1 && s->fell_back == 1 && strstr(s->isolation, "\"mode\":\"container\"") &&
           strstr(s->isolation, "clone3: EPERM"),
       "without fork mode it falls back to container mode, and says so: %s", s->isolation);
    moonsand_pool_stats st = {.version = 1};
    moonsand_sandbox_pool_stats(s->v.sandbox, &st, NULL);
    ok(st.fell_back && st.mode == MOONSAND_MODE_CONTAINER, "the numbers, too");
    ok(s->failed == 0 && st.failed == 0, "and none has failed: whoever waits goes on waiting");
    shut(s);

    OPEN(s, 2, MOONSAND_TIER_NONE, FAKE_NO_FORK);
    until(s, &s->fell_back, 1);
    for (int i = 0; i < 200 && st.ready < 2; i++) {
        drive_for(s, patience(20 * MS_MS));
        moonsand_sandbox_pool_stats(s->v.sandbox, &st, NULL);
    }
    ok(st.ready == 2 && s->fell_back == 1 && s->failed == 0 && st.failed == 0,
       "two that began together fall back once, and get ready: %u", st.ready);
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_LANDLOCK, FAKE_NO_FORK);
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->code == MOONSAND_E_ISOLATION && !s->fell_back, "unless that is refused: %s", s->why);
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NAMESPACES, FAKE_LESS);
    start(s, NULL);
    until(s, &s->done, 1);
    is_int(s->code, MOONSAND_E_PROTOCOL, "less than was required is no answer: %s", s->why);
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_NO_CREATE, FAKE_GOOD);
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->code == MOONSAND_E_ENGINE && s->failed == 1, "the engine fails: %s", s->why);
    start(s, NULL);
    until(s, &s->done, 2);
    is_int(s->ok, 1, "and the next run tries again");
    shut(s);
}

/* ---- between runs -------------------------------------------------------------------------- */

static void test_idle(seen *s)
{
    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_TALKS, FAKE_GOOD);
    until(s, &s->retired[MOONSAND_RETIRE_TAMPERED], 1);
    is_int(s->retired[MOONSAND_RETIRE_TAMPERED], 1, "one that speaks out of turn is retired");
    start(s, NULL);
    until(s, &s->done, 1);
    is_int(s->ok, 1, "and the run has another");
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_DROPS_IDLE, FAKE_GOOD);
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->ok == 1 || s->code == MOONSAND_E_ENGINE, "one that ends as it is handed out: %s", s->why);
    start(s, NULL);
    until(s, &s->done, 2);
    ok(s->ok >= 1, "the next run has another");
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_SILENT, FAKE_GOOD);
    drive_for(s, 600 * MS_MS);
    int64_t began = ms_now_ns();
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->ok == 1 && s->retired[MOONSAND_RETIRE_HEALTH] == 1,
       "one that does not answer gets no run: %s", s->why);
    ok(ms_now_ns() - began < patience(4 * MS_S), "which does not wait for it for long");
    int before = atomic_load(&s->plan.pings);
    drive_for(s, patience(2500 * MS_MS));
    ok(atomic_load(&s->plan.pings) > before, "idle ones are asked");
    is_int(s->retired[MOONSAND_RETIRE_HEALTH], 1, "and stay when they answer");
    shut(s);
}

/* ---- with a run ---------------------------------------------------------------------------- */

static void test_run(seen *s)
{
    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_REFUSES, FAKE_REFUSES, FAKE_GOOD);
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->ok == 1 && s->retired[MOONSAND_RETIRE_THREADS] == 2,
       "a run that was not begun goes to another worker: %s", s->why);
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_RETIRES, FAKE_GOOD);
    start(s, NULL);
    start(s, NULL);
    until(s, &s->done, 2);
    ok(s->ok == 2 && s->retired[MOONSAND_RETIRE_TMP] == 1, "retired by its agent after a run");
    is_int(atomic_load(&s->plan.created), 2, "the next run has another");
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_CHANGES, FAKE_GOOD);
    start(s, NULL);
    start(s, NULL);
    until(s, &s->done, 2);
    ok(s->retired[MOONSAND_RETIRE_TAMPERED] == 1 && s->ok >= 1, "a wall that is lost is tampering");
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_GARBAGE, FAKE_GOOD);
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->status == MOONSAND_S_TAMPERED && !s->ok, "bytes that are no frame: %s", s->why);
    start(s, NULL);
    until(s, &s->done, 2);
    ok(s->ok == 1 && s->retired[MOONSAND_RETIRE_TAMPERED] == 1, "retire the worker");
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_REPORTS);
    s->listen = true;
    start(s, NULL);
    start(s, NULL);
    until(s, &s->done, 2);
    is_str(s->reports, "{\"step\":1};{\"step\":1};", "reports of two runs");
    ok(s->ok == 2 && s->reported == 1 && s->dropped == 3, "and how many there were of the last");
    shut(s);

    static const enum fake_way unasked[] = {FAKE_REPORTS, FAKE_DROPPED};
    for (int i = 0; i < 2; i++) {
        open_with(s, 1, MOONSAND_TIER_NONE, unasked + i, 1);
        start(s, NULL);
        until(s, &s->done, 1);
        ok(s->status == MOONSAND_S_TAMPERED && s->reports[0] == 0,
           "reports that nobody asked for are tampering: %s", s->why);
        shut(s);
    }

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_DROPS_RUNNING, FAKE_GOOD);
    start(s, NULL);
    until(s, &s->done, 1);
    ok(s->status == MOONSAND_S_LOST && !s->ok && !s->code, "lost in a run: %s", s->why);
    drive_for(s, patience(300 * MS_MS));
    is_int(atomic_load(&s->plan.created), 2, "is not tried again but replaced");
    is_int(s->retired[MOONSAND_RETIRE_LOST], 1, "as lost");
    shut(s);

    OPEN(s, 1, MOONSAND_TIER_NONE, FAKE_DROPS_ASKED, FAKE_GOOD);
    start(s, NULL);
    until(s, &s->done, 1);
    is_int(s->code, MOONSAND_E_ENGINE, "lost with the request on its way: %s", s->why);
    shut(s);
}

/* ---- keys ---------------------------------------------------------------------------------- */

static void test_keys(seen *s)
{
    static const char *const keys[] = {"a", "b", "c", "a", "b", "c"};
    OPEN(s, 2, MOONSAND_TIER_NONE, FAKE_GOOD);
    for (int i = 0; i < 6; i++)
        start(s, keys[i]);
    until(s, &s->done, 6);
    ok(s->ok == 6, "three keys share two places: %s", s->why);
    ok(s->retired[MOONSAND_RETIRE_KEY] >= 1, "by turns");
    shut(s);
    OPEN(s, 2, MOONSAND_TIER_NONE, FAKE_GOOD);
    for (int i = 0; i < 50; i++)
        start(s, i % 2 ? "a" : "b");
    until(s, &s->done, 50);
    is_int(s->ok, 50, "two keys on two workers");
    drive_for(s, patience(100 * MS_MS));
    moonsand_pool_stats st = {.version = 1};
    moonsand_sandbox_pool_stats(s->v.sandbox, &st, NULL);
    ok(st.ready == 2 && st.busy == 0 && st.waiting == 0 && st.runs == 50,
       "%u ready, %u busy, %u waiting, %llu runs", st.ready, st.busy, st.waiting,
       (unsigned long long)st.runs);
    shut(s);
}

int main(void)
{
    static seen s;
    test_start(&s);
    test_idle(&s);
    test_run(&s);
    test_keys(&s);
    return done_testing();
}
