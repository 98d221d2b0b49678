/* One engine: negotiated version, facts, calls; and the lists of what lives on it. */
#ifndef MS_ENGINE_H
#define MS_ENGINE_H

#include <jansson.h>

#include "http.h"
#include "spec.h"

typedef struct ms_layer ms_layer;     /* layer.h */
typedef struct ms_removal ms_removal; /* removal.h */
typedef struct ms_box ms_box;         /* container.h */

struct moonsand_engine {
    moonsand_loop *loop;
    ms_http *http;
    ms_endpoint ep;
    const ms_profile *profile; /* NULL until it is known what kind it is */
    moonsand_engine_facts facts;
    json_t *version_json, *info_json, *components; /* facts borrows strings of the first two */
    char *components_text;
    char prefix[20]; /* "/v1.41" */
    char api_version[16];
    int64_t call_timeout_ns;
    char *agent_path;
    char *owner;           /* label of this process */
    char *seccomp_path[2]; /* Podman: the profile's file, written once; [1] with a fork server */
    enum { MS_ENGINE_CONNECTING, MS_ENGINE_READY, MS_ENGINE_FAILED } state;

    moonsand_engine_done done;
    void *done_arg;
    ms_timer failed_later; /* to report what failed inside open from a step */
    moonsand_error *open_error;
    ms_http_call *opening[3]; /* calls of the opening that are under way */
    bool has_networks;

    moonsand_request *requests;
    moonsand_sandbox *sandboxes;
    moonsand_run *runs;
    ms_box *boxes;
    ms_layer *layers;
    ms_removal *removals;
    size_t removal_count;
    json_t *checked; /* object: create bodies (uid and name blanked) whose self-check passed */
};

typedef void (*ms_engine_cb)(void *arg, ms_http_call *call, int status, const char *body,
                             size_t len, moonsand_error *err);
/* A call of the versioned API; path as in moonsand_request_options. body may be NULL. */
int ms_engine_call(ms_http_call **out, moonsand_engine *e, const char *method, const char *path,
                   const ms_buf *body, int64_t timeout_ns, ms_engine_cb cb, void *arg,
                   moonsand_error **err);
/* "/v1.41/containers/..." or "/v4.0.0/libpod/..."; free with ms_free(). NULL: no memory. */
char *ms_engine_path(const moonsand_engine *e, const char *path);

/* The agent's bytes for this engine's architecture: built in, or read from agent_path into *own
 * (free with ms_free()). UNSUPPORTED when there is none for it. */
int ms_engine_agent(const moonsand_engine *e, const unsigned char **data, size_t *len, char **own,
                    moonsand_error **err);

/* For the moonsand_engine_close() of requests, sandboxes and runs that outlive their engine. */
void ms_sandbox_orphan(moonsand_sandbox *s);
void ms_run_orphan(moonsand_run *r);

#endif
