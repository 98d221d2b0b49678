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

int main(void)
{
    const char *agent = getenv("MOONSAND_AGENT");
    if (!harness_open(agent != NULL ? agent : MS_AGENT_PATH)) {
        skip("no unprivileged namespaces here");
        return done_testing();
    }
    test_runs();
    harness_close();
    return done_testing();
}
