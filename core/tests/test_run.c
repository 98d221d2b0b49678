/* The C API against the real engines. */
#include "live.h"
#include "tap.h"

typedef struct fetch {
    moonsand_request *request;
    bool done;
    int calls, status;
    size_t bytes;
    bool cancel_in_data;
} fetch;

static void fetch_data(void *arg, const char *data, size_t len)
{
    fetch *f = arg;
    (void)data;
    f->bytes += len;
    if (f->cancel_in_data)
        moonsand_request_cancel(f->request);
}

static void fetch_done(void *arg, int status, const char *body, size_t len, moonsand_error *err)
{
    fetch *f = arg;
    (void)body, (void)len;
    f->done = true;
    f->calls++;
    f->status = status;
    moonsand_error_free(err);
    moonsand_request_cancel(f->request);
}

static void requests(live *v, const char *name)
{
    fetch whole = {0}, cut = {.cancel_in_data = true};
    moonsand_request_options o = MOONSAND_REQUEST_OPTIONS_INIT;
    o.method = "GET";
    o.path = "/info";
    o.on_data = fetch_data;
    o.on_done = fetch_done;
    o.arg = &whole;
    moonsand_request_start(&whole.request, v->engine, &o, NULL);
    live_drive(v, &whole.done, 20);
    ok(whole.status == 200 && whole.bytes > 100 && whole.calls == 1,
       "%s: a request that is cancelled in its on_done", name);
    o.arg = &cut;
    moonsand_request_start(&cut.request, v->engine, &o, NULL);
    live_drive(v, &cut.done, 1);
    ok(cut.bytes > 0 && cut.calls == 0, "%s: and in its on_data, which ends it", name);
}

static void on_engine(const char *name, const char *url, const char *image)
{
    if (!url || !image) {
        skip("%s: no engine was given (MOONSAND_TEST_%s)", name, name);
        return;
    }
    live v = {0};
    int rc = live_open(&v, url);
    ok(rc == 0, "%s: opens: %s", name, v.err ? moonsand_error_message(v.err) : "no error");
    if (rc) {
        live_close(&v);
        return;
    }
    rc = live_run(&v, image, "print(2+2)");
    ok(rc == 0, "%s: runs: %s", name, v.err ? moonsand_error_message(v.err) : "no error");
    if (rc == 0) {
        is_str(moonsand_status_name(v.result->status), "ok", "%s: status", name);
        is_int(v.result->exit_code, 0, "%s: exit code", name);
        is_int((long)v.result->out.len, 2, "%s: length of stdout", name);
        is_str(v.result->out.data, "4\n", "%s: stdout", name);
        ok(v.result->wall_ns > 0 && v.result->overhead_ns > 0, "%s: times are told", name);
    }
    moonsand_run_free(v.run);
    v.run = NULL;
    v.result = NULL;

    requests(&v, name);

    /* freed in the middle: nothing is told any more, and the container goes away */
    const char *argv[] = {"python3", "-c", "import time; time.sleep(30)"};
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 3;
    o.on_done = live_on_done;
    o.arg = &v;
    moonsand_error_free(v.err);
    v.err = NULL;
    for (int ms = 0; ms <= 200; ms += 20) {
        v.done = false;
        if (moonsand_run_start(&v.run, v.sandbox, &o, &v.err)) {
            ok(0, "%s: starts", name);
            break;
        }
        int64_t end = ms_now_ns() + ms * MS_MS;
        while (ms_now_ns() < end) {
            moonsand_loop_wait(v.loop, end - ms_now_ns(), NULL);
            moonsand_loop_step(v.loop, NULL);
        }
        moonsand_run_free(v.run);
        v.run = NULL;
        int64_t limit = ms_now_ns() + 20 * MS_S;
        do {
            moonsand_loop_wait(v.loop, 50 * MS_MS, NULL);
            moonsand_loop_step(v.loop, NULL);
        } while (moonsand_engine_pending(v.engine) && ms_now_ns() < limit);
        ok(!v.done && moonsand_engine_pending(v.engine) == 0, "%s: freed after %d ms", name, ms);
    }
    live_close(&v);
}

int main(void)
{
    const char *image = getenv("MOONSAND_TEST_IMAGE");
    on_engine("DOCKER", getenv("MOONSAND_TEST_DOCKER"), image);
    on_engine("PODMAN", getenv("MOONSAND_TEST_PODMAN"), image);
    return done_testing();
}
