/* The host's side of the agent protocol (proto.h): frames out into a buffer, frames in as events.
 * Knows nothing of sockets and decides nothing; every byte that comes in is taken as hostile. */
#ifndef MS_AGENT_H
#define MS_AGENT_H

#include "mem.h"
#include "moonsand.h"
#include "proto.h"

/* ---- out: each adds whole frames to b (long STDIN and FILE_DATA as several); 0, -1 when there is
 * no memory, or -2 when it is longer than a frame may be (MS_PROTO_MAX); b is then as it was ----
 */

typedef struct ms_agent_request {
    const char *const *argv;
    size_t argc;
    const char *const *env;
    size_t envc;
    const char *cwd, *output_dir, *value_file;
    uint64_t wall_limit_ns, stdout_max, stderr_max, artefact_count_max, artefact_bytes_max,
        value_max, fsize, flags;
} ms_agent_request;
int ms_agent_put_request(ms_buf *b, const ms_agent_request *request);
/* SERVER: what a fork server should be. */
typedef struct ms_agent_server {
    const char *language, *interpreter;
    const char *const *env;
    size_t envc;
    const char *const *preload;
    size_t preload_count;
    const char *preload_script; /* or NULL */
    uint64_t tier_lowest, tmp_bytes, tmp_inodes, shm_bytes, fsize;
    bool net_shared, tmp_exec;
} ms_agent_server;
int ms_agent_put_server(ms_buf *b, const ms_agent_server *server);
int ms_agent_put_file(ms_buf *b, const char *path, uint32_t mode, const void *data, size_t len);
int ms_agent_put(ms_buf *b, int type, const void *payload, size_t len); /* GO, STDIN, KILL, ... */

/* ---- in ---- */

typedef struct ms_agent_final {
    uint64_t wall_ns, cpu_ns, memory_peak, pids_refused, stdout_bytes, stderr_bytes;
    uint64_t reports_dropped;
    uint32_t oom_kills, stragglers;
    int killed;    /* MS_KILLED_* */
    int exit_code; /* -1: absent */
    int signal;    /* 0: absent */
    bool landlocked;
} ms_agent_final;

/* One event, valid while the callback runs. Strings are NUL-terminated copies. */
typedef struct ms_agent_event {
    int type;         /* MS_F_* of the agent */
    const char *data; /* raw payload: STDOUT, STDERR, VALUE, ARTEFACT_DATA (a piece: a frame may
                       * come in several events); PROBE: text of one item; REPORT: all of it */
    size_t len;
    const char *path;       /* ARTEFACT, REJECTED; PROBE: the item's name */
    const char *reason;     /* REJECTED; ARTEFACT_END or NULL; FAILED: the message */
    const char *stage;      /* FAILED */
    const char *message;    /* RETIRE; its reason is in `reason` */
    const char *namespaces; /* READY */
    uint64_t memory;        /* READY: bytes */
    /* HELLO: version; CREDIT, ARTEFACT_END: size; ARTEFACT: mode; FAILED: errno; READY: tier */
    uint64_t number;
    uint64_t landlock; /* HELLO: ABI */
    const ms_agent_final *final;
} ms_agent_event;

typedef struct ms_agent_decoder ms_agent_decoder;
int ms_agent_decoder_new(ms_agent_decoder **out, moonsand_error **err);
void ms_agent_decoder_free(ms_agent_decoder *d);
/* SERVER was sent: READY comes before the first run and, or RETIRE, after each. */
void ms_agent_decoder_serve(ms_agent_decoder *d);
/* Takes any split. on_event returns 0 to go on; another value stops and is returned.
 * -1: the bytes break the protocol (frame order, unknown type, length, missing or doubled field,
 * anything after FINAL): tampered. -2: no memory. Raw payloads are passed on in pieces, all else is
 * bounded by MS_PROTO_MAX. The order that is checked: HELLO first; PROBE items then; STARTED or
 * FAILED; outputs, REPORT and CREDIT only between STARTED and the first of
 * VALUE/ARTEFACT/REJECTED/FINAL; no more of REPORT than the bounds in proto.h;
 * artefact data only inside an artefact; FINAL or FAILED last, with a fork server FAILED or RETIRE;
 * PONG only where a run may come. FINAL without STARTED is allowed
 * only with killed = MS_KILLED_HOST. Reasons and stages are of the closed sets in proto.h, paths of
 * artefacts pass ms_agent_path_ok(), all strings are UTF-8 without control characters, an
 * artefact's size is the sum of its pieces, and exactly one of exit_code and signal is there after
 * STARTED. An empty VALUE is an event with len 0. After any return but 0 the decoder takes nothing
 * more (-1). */
int ms_agent_decoder_feed(ms_agent_decoder *d, const char *p, size_t n,
                          int (*on_event)(void *arg, const ms_agent_event *ev), void *arg);

/* True for a path that an artefact may have: relative, no empty part, no "." or "..", valid UTF-8
 * without control bytes or backslash, parts <= 255 and all <= 4096 bytes, not deeper than 32. */
bool ms_agent_path_ok(const char *path, size_t len);

#endif
