/* Makes each allocation of a life against a real engine fail in turn. Only the core's own are
 * counted: the JSON library (jansson 2.14) itself writes through a wild pointer when it finds no
 * memory for an object's key. */
#ifndef FAULT_EACH_H
#define FAULT_EACH_H

#include "json.h"
#include "live.h"
#include "mem.h"
#include "open_fds.h"
#include "owner.h"
#include "patience.h"
#include "tap.h"

/* The longest life that does not hang: an ordinary one takes a tenth of a second, and one whose
 * removal is tried again some more. */
#define FAULT_PATIENCE patience(15 * MS_S)

/* Such a life takes a fifth of a second, and some have a thousand allocations. What goes wrong
 * after one has failed is seen best by a sanitizer: with one, each fails; without, each fourth. On
 * a second engine, where most of the code is the same, each fourth will do. */
#define FAULT_SOME 4
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define FAULT_STEP 1
#endif
#endif
#if !defined FAULT_STEP && defined __SANITIZE_ADDRESS__
#define FAULT_STEP 1
#elif !defined FAULT_STEP
#define FAULT_STEP FAULT_SOME
#endif

/* A life from connecting to closing. NULL when it went as it must: everything is right, or want of
 * memory was told once; else what was wrong. With `whole` only the first will do. */
typedef const char *fault_life(void *arg, bool whole);

/* Allocations number `from` to `to` - 1 (0: all of a life), each `step`th. */
static inline void fault_each(const char *what, fault_life *life, void *arg, long from, long to,
                              long step)
{
    ms_fault_set(-1);
    life(arg, true); /* what libraries keep for ever is made now */
    long blocks = ms_fault_live(), files = open_fds();
    ms_fault_set(-1);
    const char *why = life(arg, true);
    long count = ms_fault_count();
    ok(!why, "%s: a life with %ld allocations: %s", what, count, why ? why : "right");
    is_int(ms_fault_live(), blocks, "%s: it frees them all", what);
    is_int(open_fds(), files, "%s: and closes what it opened", what);
    if (to == 0 || to > count)
        to = count;
    long failed = 0, wrong = 0, leaked = 0, open = 0, slow = 0;
    for (long n = from; n < to; n += step) {
        failed++;
        int64_t began = ms_now_ns();
        ms_fault_set(n);
        why = life(arg, false);
        ms_fault_set(-1);
        long left = ms_fault_live() - blocks, more = open_fds() - files;
        bool hung = ms_now_ns() - began > FAULT_PATIENCE;
        if (why || left || more || hung)
            printf("# %s, allocation %ld: %s, %ld blocks and %ld descriptors left, %.1f s\n", what,
                   n, why ? why : "right", left, more, (double)(ms_now_ns() - began) / 1e9);
        wrong += why != NULL;
        leaked += left != 0;
        open += more != 0;
        slow += hung;
        blocks += left;
        files += more;
    }
    is_int(wrong, 0, "%s: %ld allocations fail in turn, each is told once or does no harm", what,
           failed);
    is_int(leaked, 0, "%s: none leaks", what);
    is_int(open, 0, "%s: none leaves a descriptor open", what);
    is_int(slow, 0, "%s: none hangs", what);
}

typedef struct fault_answer {
    bool done;
    int status;
    json_t *body;
} fault_answer;

static inline void fault_on_answer(void *arg, int status, const char *body, size_t len,
                                   moonsand_error *err)
{
    fault_answer *a = arg;
    a->done = true;
    a->status = status;
    a->body = err ? NULL : json_loadb(body, len, 0, NULL);
    moonsand_error_free(err);
}

/* One call on an open engine; the answer's JSON, or NULL. */
static inline json_t *fault_call(live *v, const char *method, const char *path)
{
    fault_answer a = {0};
    moonsand_request *r;
    moonsand_request_options o = MOONSAND_REQUEST_OPTIONS_INIT;
    o.method = method;
    o.path = path;
    o.on_done = fault_on_answer;
    o.arg = &a;
    if (moonsand_request_start(&r, v->engine, &o, NULL))
        return NULL;
    live_drive(v, &a.done, 30);
    return a.body;
}

/* What this process has made on the engine must be gone again. */
static inline void fault_nothing_left(const char *what, const char *url)
{
    live v = {0};
    char *owner = ms_owner_label(NULL);
    bool podman =
        live_open(&v, url) == 0 && strcmp(moonsand_engine_get_facts(v.engine)->kind, "podman") == 0;
    json_t *all = v.engine ? fault_call(&v, "GET",
                                        podman ? "/libpod/containers/json?all=true"
                                               : "/containers/json?all=true")
                           : NULL;
    long left = all ? 0 : -1;
    size_t i;
    json_t *c;
    json_array_foreach(all, i, c)
    {
        const char *of =
            json_string_value(json_object_get(json_object_get(c, "Labels"), "moonsand.owner"));
        if (of && strcmp(of, owner) == 0) {
            const char *name = json_string_value(json_array_get(json_object_get(c, "Names"), 0));
            printf("# %s is left\n", name ? name : "?");
            left++;
        }
    }
    is_int(left, 0, "%s: no container is left", what);
    json_decref(all);
    ms_free(owner);
    live_close(&v);
}

#endif
