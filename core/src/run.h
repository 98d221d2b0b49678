/* One run: a request to a container's agent, what comes back, and the verdict. The container is its
 * own (container.h). */
#ifndef MS_RUN_H
#define MS_RUN_H

#include "container.h"
#include "outcome.h"

typedef enum ms_phase {
    MS_WAITING, /* for its container */
    MS_ASKED,   /* the request was sent */
    MS_RUNNING, /* the program was started */
    MS_ENDING,  /* killed by us, or without its connection: waiting for what the engine says */
    MS_DONE
} ms_phase;

struct moonsand_run {
    moonsand_engine *engine; /* NULL: closed, or done */
    moonsand_sandbox *sandbox;
    moonsand_run *prev, *next;
    moonsand_run_options opt; /* callbacks and flags; its pointers are not used after the start */
    ms_phase phase;
    bool freed; /* the handle is gone, while the decoder was at work for it */
    ms_box *box;
    struct ms_worker *worker; /* whose box it is; NULL: its own */
    moonsand_run *queue_prev, *queue_next;
    bool queued;          /* for a worker */
    uint64_t worker_runs; /* that were before it */
    char *trust_key;      /* or NULL */

    char **argv, **env; /* copies of the options' */
    size_t argc, envc;
    ms_buf files;      /* FILE frames, until the program was started */
    ms_timer deadline; /* of what the agent or the engine should do next */
    ms_timer wake;     /* for what must not happen inside the caller */

    /* stdin */
    ms_buf input;
    uint64_t credit;
    bool input_closed, eof_sent;

    uint64_t wall_limit_ns;
    int64_t began, asked, started; /* ms_now_ns() */
    ms_ending ending;
    ms_agent_final final;
    bool cancel_asked;
    moonsand_error *error; /* what kept us from running it */
    ms_outcome_limits caps;
    ms_outcome outcome;
};

/* run_request.c: takes its container, which is ready, and sends the request. */
void ms_run_take(moonsand_run *r);
/* run_talk.c: what the agent says, and what happens when it does not. */
extern const ms_box_events ms_run_box_events;
void ms_run_pump_stdin(moonsand_run *r);
void ms_run_kill(moonsand_run *r); /* asks the agent; the deadline then asks the engine */
void ms_run_on_deadline(void *arg);
/* run.c: its worker took it not; it waits for another. */
void ms_run_again(moonsand_run *r);
/* The end. ms_run_fail() takes err. Both may free r. */
void ms_run_fail(moonsand_run *r, moonsand_error *err);
void ms_run_finish(moonsand_run *r);

#endif
