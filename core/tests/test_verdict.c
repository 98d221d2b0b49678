/* Every status, and each pair of reasons that can meet. */
#include <signal.h>

#include "tap.h"
#include "verdict.h"

static const ms_agent_final none = {.exit_code = -1};

static moonsand_status with(ms_agent_final f, ms_ending e)
{
    e.final = &f;
    return ms_verdict(&e);
}

static ms_agent_final exited(int code)
{
    ms_agent_final f = none;
    f.exit_code = code;
    return f;
}

static ms_agent_final killed(int by, int sig, uint32_t ooms)
{
    ms_agent_final f = none;
    f.killed = by;
    f.signal = sig;
    f.oom_kills = ooms;
    return f;
}

#define IS(got, want)                                                                              \
    is_str(moonsand_status_name(got), moonsand_status_name(want), "%s is %s", #got, #want)

int main(void)
{
    ms_ending plain = {0}, lost = {.lost = true}, tampered = {.tampered = true},
              cancelled = {.cancelled = true}, late = {.timed_out = true},
              oom = {.engine_oom = true};

    IS(with(exited(0), plain), MOONSAND_S_OK);
    IS(with(exited(1), plain), MOONSAND_S_EXIT);
    for (int code = 1; code < 256; code++) {
        if (with(exited(code), plain) != MOONSAND_S_EXIT)
            ok(0, "exit code %d is exit", code);
    }
    IS(with(exited(137), plain), MOONSAND_S_EXIT);
    ms_agent_final f = exited(137);
    f.oom_kills = 3; /* a child was killed, the program went on */
    IS(with(f, plain), MOONSAND_S_EXIT);
    f = exited(0);
    f.oom_kills = 1;
    IS(with(f, plain), MOONSAND_S_OK);
    IS(with(killed(0, SIGSEGV, 0), plain), MOONSAND_S_SIGNAL);
    IS(with(killed(0, SIGKILL, 0), plain), MOONSAND_S_SIGNAL);
    IS(with(killed(0, SIGKILL, 1), plain), MOONSAND_S_OOM);
    IS(with(killed(0, SIGTERM, 1), plain), MOONSAND_S_SIGNAL);
    IS(with(killed(MS_KILLED_TIMEOUT, SIGKILL, 0), plain), MOONSAND_S_TIMEOUT);
    IS(with(killed(MS_KILLED_TIMEOUT, SIGKILL, 1), plain), MOONSAND_S_TIMEOUT);
    IS(with(killed(MS_KILLED_STDOUT, SIGKILL, 0), plain), MOONSAND_S_OUTPUT_LIMIT);
    IS(with(killed(MS_KILLED_STDERR, SIGKILL, 0), plain), MOONSAND_S_OUTPUT_LIMIT);
    IS(with(killed(MS_KILLED_STDOUT, SIGKILL, 1), plain), MOONSAND_S_OUTPUT_LIMIT);
    IS(with(killed(MS_KILLED_HOST, SIGKILL, 0), cancelled), MOONSAND_S_CANCELLED);
    IS(with(killed(MS_KILLED_HOST, SIGKILL, 0), late), MOONSAND_S_TIMEOUT);

    /* without a record nothing is ok */
    IS(ms_verdict(&plain), MOONSAND_S_LOST);
    IS(ms_verdict(&lost), MOONSAND_S_LOST);
    IS(ms_verdict(&cancelled), MOONSAND_S_CANCELLED);
    IS(ms_verdict(&late), MOONSAND_S_TIMEOUT);
    IS(ms_verdict(&oom), MOONSAND_S_OOM);
    lost.cancelled = lost.timed_out = lost.engine_oom = true;
    IS(ms_verdict(&lost), MOONSAND_S_LOST);
    IS(ms_verdict(&tampered), MOONSAND_S_TAMPERED);
    IS(with(exited(0), tampered), MOONSAND_S_TAMPERED);

    /* a record that says neither exit nor signal is not believed */
    IS(with(none, plain), MOONSAND_S_TAMPERED);
    return done_testing();
}
