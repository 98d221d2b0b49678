/* Containers that are ready before a run asks for one: made ahead, looked after, handed out, taken
 * back, and replaced. A sandbox with workers has one; its runs wait here until a worker is theirs.
 *
 * All that calls the host program happens in ms_pool_turn(), which is entered where nothing of ours
 * is under way: from timers, and from the last line of a container's callbacks. */
#ifndef MS_POOL_H
#define MS_POOL_H

#include "container.h"

typedef enum ms_worker_state {
    MS_WORKER_STARTING,
    MS_WORKER_IDLE,
    MS_WORKER_BUSY,
    MS_WORKER_RETURNING, /* its run has ended; the agent looks whether another may come */
    MS_WORKER_FAILED,    /* was never ready; to be told */
    MS_WORKER_GONE       /* retired; to be told */
} ms_worker_state;

typedef struct ms_worker {
    ms_pool *pool;
    struct ms_worker *prev, *next;
    ms_worker_state state;
    ms_box *box; /* NULL: FAILED or GONE */
    char name[64];
    bool server, no_fork; /* as of its container */
    bool bound;           /* to `key` (NULL: the sandbox's own), that of its first run */
    char *key;
    uint64_t runs;
    int64_t began, ready, used; /* ms_now_ns() */
    int64_t ended, back;        /* the end of its last run; when it was ready again */
    bool say_ready, say_returned;
    bool reserved;  /* while runs are matched */
    ms_timer limit; /* of RETURNING */
    moonsand_retire_reason reason;
    char detail[256];
    moonsand_error *error; /* FAILED */
} ms_worker;

/* The last so many durations. */
typedef struct ms_samples {
    uint64_t ns[1024];
    uint64_t count;
} ms_samples;

struct ms_pool {
    moonsand_sandbox *sandbox;
    ms_worker *first;
    moonsand_run *queue, *queue_last; /* waiting, oldest first */
    uint32_t waiting;
    uint32_t wanted;
    uint32_t most; /* containers that may live at once, for the memory of their machine */
    bool closed;   /* the sandbox's handle is gone: only what its runs need is kept */
    bool in_turn;
    ms_timer tick;
    int64_t failed_at, backoff_ns; /* of starting containers */
    char *fell_back;               /* why; from then on container mode without a fork server */
    uint64_t runs, failed, retired[MOONSAND_RETIRE_COUNT];
    moonsand_tier tier;
    ms_samples hand_out, refill;
};

int ms_pool_new(ms_pool **out, moonsand_sandbox *sandbox, moonsand_error **err);
void ms_pool_close(ms_pool *p); /* the handle is gone */
void ms_pool_end(ms_pool *p);   /* the engine is: nothing of it lives on */
void ms_pool_free(ms_pool *p);  /* when no run is left. NULL is allowed */
void ms_pool_turn(ms_pool *p);
void ms_pool_turn_soon(ms_pool *p);

/* A run waits for a worker; it is the oldest again when it was handed out already and not begun. */
void ms_pool_add(ms_pool *p, moonsand_run *r, bool again);
void ms_pool_forget(ms_pool *p, moonsand_run *r);
typedef enum ms_worker_use {
    MS_USE_RECORD,  /* the agent told how the run ended */
    MS_USE_REFUSED, /* the agent takes no more, and took not this one */
    MS_USE_TAMPERED,
    MS_USE_LOST,
    MS_USE_FAILED
} ms_worker_use;
/* The run that has it is over. Calls nothing. */
void ms_pool_return(ms_worker *w, ms_worker_use use);

/* Each run has a container of its own. */
bool ms_pool_one_shot(const ms_pool *p);

/* pool_worker.c: one worker. */
bool ms_worker_start(ms_pool *p); /* false: no memory */
void ms_worker_free(ms_worker *w);
/* Its container goes; the pool tells of it in its next turn. */
void ms_worker_retire(ms_worker *w, moonsand_retire_reason reason, const char *detail,
                      ms_box_how how);
/* False: it must be asked first, and was. */
bool ms_worker_fresh(ms_worker *w);
/* When it is to be looked at again; 0: it was retired. */
int64_t ms_worker_look_after(ms_worker *w);

/* pool_stats.c */
void ms_samples_add(ms_samples *s, int64_t ns);
void ms_pool_emit(ms_pool *p, moonsand_pool_event *event, const ms_worker *w);

#endif
