/* The C API against the real engines. */
#include "live.h"
#include "tap.h"

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
