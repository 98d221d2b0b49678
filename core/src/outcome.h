/* Collects what a run leaves behind and turns it into the public result. Owns all of it. */
#ifndef MS_OUTCOME_H
#define MS_OUTCOME_H

#include "agent.h"
#include "verdict.h"

typedef struct ms_outcome {
    moonsand_result result; /* borrows from the rest; complete after ms_outcome_finish() */
    ms_buf out, err, value;
    bool has_value;
    ms_buf artefact; /* the one that is coming in */
    char *artefact_path;
    uint32_t artefact_mode;
    moonsand_artefact *artefacts;
    size_t artefact_cap;
    uint64_t artefact_total;
    moonsand_rejected *rejected;
    size_t rejected_cap;
    ms_buf isolation;
    char *image, *container;
    char reason[512];
} ms_outcome;

/* What the caps of a run are; more than that from the agent is tampering. */
typedef struct ms_outcome_limits {
    uint64_t stdout_bytes, stderr_bytes, artefact_bytes, value_bytes;
    uint32_t artefact_count;
    bool keep_stdout, keep_stderr;
} ms_outcome_limits;

/* STDOUT, STDERR, VALUE, ARTEFACT*, REJECTED. 0; -1: more than allowed or a name that is not:
 * tampered; -2: no memory. */
int ms_outcome_event(ms_outcome *o, const ms_outcome_limits *l, const ms_agent_event *ev);
/* final may be NULL. */
void ms_outcome_finish(ms_outcome *o, const ms_outcome_limits *l, moonsand_status status,
                       const ms_agent_final *final);
void ms_outcome_free(ms_outcome *o);

#endif
