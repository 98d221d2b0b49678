/* The agent with a fork server: real interpreters, real walls. */
#include "agent_server.h"

#ifndef MS_AGENT_PATH
#define MS_AGENT_PATH "moonsand-agent"
#endif

static const server_plan plain = {.tier_lowest = MS_TIER_NAMESPACES};

static bool is(const host *h, int code, const char *out)
{
    bool good = host_whole(h) && h->s.final.exit_code == code && h->s.out.data != NULL &&
                strcmp(h->s.out.data, out) == 0;
    if (!good)
        diag("exit %d signal %d stdout '%s' stderr '%s' failed %d '%s' retired %d %s %s",
             h->s.final.exit_code, h->s.final.signal, h->s.out.data ? h->s.out.data : "",
             h->s.err.data ? h->s.err.data : "", h->s.failed, h->s.message, h->retired, h->reason,
             h->message);
    return good;
}

static void test_runs(void)
{
    host h;
    if (!ok(host_open(&h, &plain), "a server of Python"))
        diag("%s: %s", h.s.stage, h.s.message);
    is_int(h.tier, MS_TIER_NAMESPACES, "with namespaces");
    is_str(h.namespaces, "user,mnt,pid,ipc,uts,net,cgroup", "all of them");
    host_python(&h, "print(2+2)\n");
    ok(is(&h, 0, "4\n"), "a run");
    host_python(&h, "print('again')\nraise SystemExit(7)\n");
    ok(is(&h, 7, "again\n"), "and another");
    host_close(&h);
}

static int by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

/* From GO to FINAL, and from there to READY: `test_agent_fork --measure RUNS [MODULE]`. */
static void measure(size_t runs, const char *module)
{
    server_plan p = {.preload = {module}};
    double *took = calloc(runs, sizeof *took), began = 0;
    host h;
    if (!host_open(&h, &p)) {
        diag("%s: %s", h.s.stage, h.s.message);
        return;
    }
    for (size_t i = 0; i < runs + 20; i++) {
        if (i == 20)
            began = harness_now();
        host_python(&h, "print(2+2)\n");
        if (!is(&h, 0, "4\n"))
            break;
        if (i >= 20)
            took[i - 20] = h.s.took;
    }
    double all = harness_now() - began;
    qsort(took, runs, sizeof *took, by_size);
    diag("to FINAL: p50 %.2f ms, p99 %.2f ms; %.0f runs/s; wall of the last %.2f ms",
         took[runs / 2] * 1e3, took[runs * 99 / 100] * 1e3, (double)runs / all,
         (double)h.s.final.wall_ns / 1e6);
    free(took);
    host_close(&h);
}

int main(int argc, char **argv)
{
    const char *agent = getenv("MOONSAND_AGENT");
    if (!harness_open(agent != NULL ? agent : MS_AGENT_PATH)) {
        skip("no unprivileged namespaces here");
        return done_testing();
    }
    if (argc > 2 && strcmp(argv[1], "--measure") == 0)
        measure(strtoul(argv[2], NULL, 10), argc > 3 ? argv[3] : NULL);
    else
        test_runs();
    harness_close();
    return done_testing();
}
