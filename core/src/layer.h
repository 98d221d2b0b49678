/* The image that really runs: the user's image plus one layer with the agent, made once on an
 * engine by each machine that uses it, and found again by the hash of both. */
#ifndef MS_LAYER_H
#define MS_LAYER_H

#include "engine.h"

/* What a sandbox must know of its image. Owned by the engine's cache. */
struct ms_layer {
    ms_layer *next;
    char *image;    /* reference as given */
    char *image_id; /* of the user's image */
    char *run_id;   /* with the agent layer */
    char *path;     /* PATH of the image, or a default */
    char *lang;     /* LANG of the image, or C.UTF-8 */
    char **volumes;
    size_t volume_count;
    bool ready;
    struct ms_layer_waiter *waiters;
    struct ms_layer_work *work; /* while it is being prepared */
};

/* Embedded in whoever waits. */
typedef struct ms_layer_waiter ms_layer_waiter;
struct ms_layer_waiter {
    ms_layer *layer; /* NULL: not waiting */
    ms_layer_waiter *next;
    /* Exactly one of layer and err (owned by the callee). */
    void (*cb)(void *arg, const ms_layer *layer, moonsand_error *err);
    void *arg;
};

/* Sets *ready when it is known already (valid until the next step); otherwise leaves it NULL and
 * calls back from a step. */
int ms_layer_want(ms_layer_waiter *w, moonsand_engine *e, const char *image,
                  void (*cb)(void *arg, const ms_layer *layer, moonsand_error *err), void *arg,
                  const ms_layer **ready, moonsand_error **err);
/* The ready layer of image, or NULL. */
const ms_layer *ms_layer_find(const moonsand_engine *e, const char *image);
void ms_layer_unwant(ms_layer_waiter *w);
/* The engine said that the image is gone: look again next time. */
void ms_layer_forget(moonsand_engine *e, const ms_layer *layer);
void ms_layers_free(moonsand_engine *e);

#endif
