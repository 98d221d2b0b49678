/* A container of ours while it lives: made from the image up to an agent that takes a run, talked
 * to by frames, and handed to the background when it is over. What a run is it does not know; a
 * run, or a pool that keeps it ready, owns it and is told by callbacks. */
#ifndef MS_CONTAINER_H
#define MS_CONTAINER_H

#include "agent.h"
#include "layer.h"
#include "sandbox.h"
#include "stream.h"

typedef enum ms_box_state {
    MS_BOX_PREPARING, /* image and agent layer */
    MS_BOX_CREATING,
    MS_BOX_ATTACHING,
    MS_BOX_STARTING,  /* until the agent answers and the walls are proven */
    MS_BOX_READY,     /* a run may come */
    MS_BOX_BUSY,      /* it came */
    MS_BOX_RETURNING, /* it has ended; the agent looks whether another may come */
    MS_BOX_OVER,      /* no run may come any more */
    MS_BOX_ENDING /* killed by us, or without its connection: waiting for what the engine says */
} ms_box_state;

/* How it ended, as far as the engine tells; more is in ms_box.diagnosis. */
typedef struct ms_box_end {
    bool answered; /* false: the engine does not answer */
    bool oom;      /* the kernel killed its first process for want of memory */
} ms_box_end;

/* Each is the last thing that the box does in a step with itself, so it may be released in it; but
 * not in on_event, which comes from the middle of the decoder (there it is only marked). */
typedef struct ms_box_events {
    void (*on_ready)(void *arg);
    /* It never will be. err is owned by the callee; NULL: its agent broke the protocol. */
    void (*on_failed)(void *arg, moonsand_error *err);
    /* A frame of the run: 0 goes on, another value is handed to on_fed. */
    int (*on_event)(void *arg, const ms_agent_event *ev);
    /* Bytes were decoded; rc as from ms_agent_decoder_feed(). */
    void (*on_fed)(void *arg, int rc);
    /* Its connection ended after it had become ready; why is in diagnosis. */
    void (*on_lost)(void *arg);
    /* After ms_box_ask() and ms_box_kill(). */
    void (*on_end)(void *arg, const ms_box_end *end);
    void *arg;
} ms_box_events;

typedef enum ms_box_how {
    MS_BOX_HANG_UP, /* its agent ends all when we hang up, and itself after a record */
    MS_BOX_FORCE    /* killed */
} ms_box_how;

struct ms_box {
    moonsand_engine *engine;
    ms_box *prev, *next;       /* of the engine's */
    moonsand_sandbox *sandbox; /* whose limits it has; NULL once it is released */
    ms_box_events events;
    ms_box_state state;
    bool was_ready;
    bool busy; /* inside the decoder */
    bool released;
    ms_box_how how;
    int64_t lease_ns;
    bool server;  /* with a fork server */
    bool no_fork; /* which cannot keep runs apart here; on_failed says why */

    ms_layer_waiter waiter;
    ms_http_call *call; /* create, inspect or kill */
    ms_http_call *start_call;
    ms_stream *stream;
    ms_agent_decoder *decoder;
    char *name;                 /* once create was sent */
    char *image;                /* id of the user's image */
    char *path, *lang;          /* of the image, for programs */
    bool prepared_again;        /* its image was gone at the first try */
    struct ms_removal *removal; /* for it; made first */
    uint32_t uid;
    int uid_fd;
    ms_timer deadline;

    struct ms_probe *probe; /* while the self-check is on */
    unsigned probe_seen;
    char *check_key; /* for the engine's memory of it */
    bool checked;    /* the walls were proven for this kind of container */

    int tier;            /* with a fork server: MS_TIER_* of its runs */
    char namespaces[64]; /* and what is new for each */
    char retire[32];     /* why the agent takes no more runs; detail says more */
    char detail[256];
    int64_t heard, pinged; /* ms_now_ns() of its last word; of a ping without an answer, or 0 */

    int64_t attached; /* ms_now_ns() */
    moonsand_error *error;
    char diagnosis[256]; /* stderr of the agent, or the daemon's own words */
};

/* Nothing is asked of the engine before ms_box_launch(), which may call on_failed. server: it gets
 * the fork server of the sandbox, and can take several runs. lease_ns: how long it may live at
 * most, for whoever looks after what dead processes left behind. */
int ms_box_new(ms_box **out, moonsand_sandbox *sandbox, bool server, int64_t lease_ns,
               const ms_box_events *events, moonsand_error **err);
void ms_box_launch(ms_box *b);
/* The owner lets go of it: no more callbacks. Safe at any time. One that the engine is just about
 * to create lives on until it is known what there is to remove. */
void ms_box_release(ms_box *b, ms_box_how how);
/* moonsand_engine_close(): also of those that live on. */
void ms_box_abandon(ms_box *b);
void ms_box_set_events(ms_box *b, const ms_box_events *events);

/* Frames for it, when it is MS_BOX_READY or BUSY. */
int ms_box_write(ms_box *b, const ms_buf *frames, moonsand_error **err);
/* One that is MS_BOX_READY answers; until then `pinged` is set. on_fed tells of each answer. */
int ms_box_ping(ms_box *b);
/* Asks the engine how it ended; ms_box_kill() ends it first. on_end comes within 10 s. */
void ms_box_ask(ms_box *b);
void ms_box_kill(ms_box *b);

/* container_talk.c, for container.c: what the agent says until it is ready. */
int ms_box_greet(ms_buf *out, ms_box *b);
void ms_box_on_data(void *arg, int stream, const char *p, size_t n);
void ms_box_on_stream_end(void *arg, moonsand_error *err);
/* container.c, for container_talk.c: calls on_failed; gone with err when it was released. */
void ms_box_fail(ms_box *b, moonsand_error *err);
void ms_box_gone(ms_box *b);
void ms_box_on_deadline(void *arg);

#endif
