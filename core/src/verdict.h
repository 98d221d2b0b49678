/* From what is known of a run's end to its one status. Pure: a table in the tests covers it. */
#ifndef MS_VERDICT_H
#define MS_VERDICT_H

#include "agent.h"

typedef struct ms_ending {
    bool tampered;   /* the protocol was broken, or more came than was allowed */
    bool lost;       /* engine or connection gone, and nothing tells how the program ended */
    bool cancelled;  /* the caller asked for the end, and that is what ended it */
    bool timed_out;  /* the host's own deadline ended it */
    bool engine_oom; /* no record, and the engine says that the container ran out of memory */
    const ms_agent_final *final; /* the agent's record, or NULL */
} ms_ending;

moonsand_status ms_verdict(const ms_ending *e);

#endif
