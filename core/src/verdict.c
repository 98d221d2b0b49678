#include "verdict.h"

#include <signal.h>

moonsand_status ms_verdict(const ms_ending *e)
{
    const ms_agent_final *f = e->final;
    if (e->tampered)
        return MOONSAND_S_TAMPERED;
    /* Without the agent's record there is no ok, no exit and no signal: only our own deeds and the
     * engine's word remain. */
    if (!f) {
        if (e->lost)
            return MOONSAND_S_LOST;
        if (e->cancelled)
            return MOONSAND_S_CANCELLED;
        if (e->timed_out)
            return MOONSAND_S_TIMEOUT;
        return e->engine_oom ? MOONSAND_S_OOM : MOONSAND_S_LOST;
    }
    switch (f->killed) {
    case MS_KILLED_HOST:
        return e->cancelled || !e->timed_out ? MOONSAND_S_CANCELLED : MOONSAND_S_TIMEOUT;
    case MS_KILLED_TIMEOUT:
        return MOONSAND_S_TIMEOUT;
    case MS_KILLED_STDOUT:
    case MS_KILLED_STDERR:
        return MOONSAND_S_OUTPUT_LIMIT;
    default:
        break;
    }
    /* SIGKILL that nobody of us sent, and the kernel's counter moved: that is an out-of-memory kill
     * of the program. A child that was killed while the program went on leaves only the counter. */
    if (f->signal == SIGKILL && f->oom_kills > 0)
        return MOONSAND_S_OOM;
    if (f->signal)
        return MOONSAND_S_SIGNAL;
    if (f->exit_code == 0)
        return MOONSAND_S_OK;
    return f->exit_code > 0 ? MOONSAND_S_EXIT : MOONSAND_S_TAMPERED;
}
