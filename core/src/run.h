/* The life of one run as a state machine: prepare, create, attach, start, talk to the agent, judge.
 */
#ifndef MS_RUN_H
#define MS_RUN_H

#include "layer.h"
#include "outcome.h"
#include "sandbox.h"
#include "stream.h"

typedef enum ms_phase {
    MS_PREPARING, /* image and agent layer */
    MS_CREATING,
    MS_ATTACHING,
    MS_STARTING, /* until the program was started */
    MS_RUNNING,
    MS_ENDING, /* killed by us, or without its connection: waiting for what the engine says */
    MS_DONE
} ms_phase;

struct moonsand_run {
    moonsand_engine *engine; /* NULL: closed, or done */
    moonsand_sandbox *sandbox;
    moonsand_run *prev, *next;
    moonsand_run_options opt; /* callbacks and flags; its pointers are not used after the start */
    ms_phase phase;
    bool busy;  /* inside the decoder: callbacks must not free it */
    bool freed; /* the handle is gone; we live on until the engine has told what it created */

    ms_layer_waiter waiter;
    ms_http_call *call; /* create, inspect or kill */
    ms_http_call *start_call;
    ms_stream *stream;
    ms_agent_decoder *decoder;
    char **argv, **env; /* copies of the options' */
    size_t argc, envc;
    ms_buf files;        /* FILE frames, until they are sent */
    char *name;          /* of the container, once create was sent */
    bool prepared_again; /* its image was gone at the first try */
    ms_removal *removal; /* for it; made first */
    uint32_t uid;
    int uid_fd;
    ms_timer deadline; /* start-up, then wall clock plus grace, then the end */
    ms_timer wake;     /* for what must not happen inside the caller */

    ms_probe *probe; /* while the self-check is on */
    unsigned probe_seen;
    char *check_key; /* for the engine's memory of it */
    bool checked;    /* the walls were proven for this kind of container */

    /* stdin */
    ms_buf input;
    uint64_t credit;
    bool input_closed, eof_sent;

    uint64_t wall_limit_ns;
    int64_t began, attached, started, ended; /* ms_now_ns() */
    ms_ending ending;
    ms_agent_final final;
    bool cancel_asked;
    moonsand_error *error; /* what kept us from running it */
    char diagnosis[256];   /* stderr of the agent, or the daemon's own words */
    ms_outcome_limits caps;
    ms_outcome outcome;
};

/* run_launch.c: from the image to the request that is on its way to the agent. */
void ms_run_prepare(moonsand_run *r);
/* run_talk.c: what the agent says, and what happens when it does not. */
void ms_run_talk_data(void *arg, int stream, const char *p, size_t n);
void ms_run_talk_end(void *arg, moonsand_error *err);
void ms_run_pump_stdin(moonsand_run *r);
void ms_run_kill(moonsand_run *r); /* asks the agent; the deadline then asks the engine */
void ms_run_on_deadline(void *arg);
/* run.c: the end. ms_run_fail() takes err. Both may free r. */
void ms_run_fail(moonsand_run *r, moonsand_error *err);
void ms_run_finish(moonsand_run *r);

#endif
