/* What a sandbox keeps ready: containers, and in them the interpreter that runs are forks of. */
#ifndef MS_WARM_H
#define MS_WARM_H

#include "agent.h"
#include "spec.h"

typedef struct ms_warm {
    moonsand_mode mode;
    uint32_t workers; /* 0: nothing is kept ready */
    bool server;      /* the containers have a fork server */
    char *language, *interpreter;
    char **preload;
    size_t preload_count;
    char *preload_script; /* or NULL */
    moonsand_tier require;
    uint32_t max_runs;
    int64_t max_age_ns;
    void (*on_pool)(void *arg, const moonsand_pool_event *event);
    void *pool_arg;
} ms_warm;

/* Fills in defaults and checks each value; INVALID names option, value, and what is allowed. */
int ms_warm_resolve(ms_warm *out, const moonsand_sandbox_options *options, moonsand_error **err);
void ms_warm_free(ms_warm *w);

/* The frame SERVER for a container with these limits; path and lang are its image's. -1: no memory,
 * -2: too long. */
int ms_warm_put_server(ms_buf *out, const ms_warm *w, const ms_limits *l, const char *path,
                       const char *lang);

#endif
