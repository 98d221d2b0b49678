/* moonsand: run code that nobody trusts in containers. The one public header.
 *
 * Conventions
 *   - Every function that can fail takes `moonsand_error **err` last, returns 0 on success and -1
 * on failure. On failure *err (when err is not NULL) is set to an error that the caller frees with
 *     moonsand_error_free(); on success *err is left alone. *err must be NULL or an error before:
 * an old one is freed when a new one takes its place.
 *   - `out` parameters come first and are set to NULL on failure.
 *   - Strings are UTF-8 and NUL-terminated unless a length stands beside them. Strings passed in
 * are copied; strings handed out are borrowed from the object that they came from.
 *   - Option structs start with MOONSAND_..._INIT, so that they can grow: `version` says which
 * layout the caller was compiled with. A field left at 0 or NULL means the default.
 *   - Durations are nanoseconds (`_ns`), sizes bytes, unless the name says otherwise.
 *   - Nothing blocks but moonsand_loop_wait(), the _close() functions (bounded, see there), and a
 * journal, which waits for the disk.
 *   - An object and everything made from it belongs to one thread. Objects of different loops may
 * be used from different threads. There is no global state.
 */
#ifndef MOONSAND_H
#define MOONSAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MOONSAND_EXTERN extern __attribute__((visibility("default")))
#else
#define MOONSAND_EXTERN extern
#endif

#define MOONSAND_VERSION "0.1.0"

/* ---- errors ------------------------------------------------------------------------------- */

/* code, name (what Lua sees as err.code), meaning */
#define MOONSAND_ERROR_CODES(X)                                                                    \
    X(INVALID, "invalid", "an argument has no meaning; the caller's mistake")                      \
    X(NOMEM, "nomem", "out of memory")                                                             \
    X(IO, "io", "a system call failed")                                                            \
    X(NO_ENGINE, "no_engine", "no container engine was found")                                     \
    X(CONNECT, "connect", "the engine cannot be reached")                                          \
    X(TIMEOUT, "timeout", "the engine did not answer in time")                                     \
    X(ENGINE, "engine", "the engine answered with an error")                                       \
    X(NOT_FOUND, "not_found", "a file, image or container does not exist")                         \
    X(CONFLICT, "conflict", "the engine says that the state does not allow it")                    \
    X(UNSUPPORTED, "unsupported", "the engine cannot apply what was asked; refused, not weakened") \
    X(ISOLATION, "isolation", "the self-check found a wall missing; refused")                      \
    X(PROTOCOL, "protocol", "bytes that break a protocol")                                         \
    X(EXEC, "exec", "the program could not be started inside the container")                       \
    X(CANCELLED, "cancelled", "given up because the caller asked for it")                          \
    X(INTERRUPTED, "interrupted", "a signal arrived while waiting")                                \
    X(CLOSED, "closed", "the object was closed")                                                   \
    X(UNREACHABLE, "unreachable", "a registry or package index cannot be reached")                 \
    X(DENIED, "denied", "a registry refused the credentials")                                      \
    X(BUILD, "build", "a step of an image build failed")

typedef enum moonsand_code {
    MOONSAND_OK = 0,
#define MOONSAND_X(id, name, meaning) MOONSAND_E_##id,
    MOONSAND_ERROR_CODES(MOONSAND_X)
#undef MOONSAND_X
} moonsand_code;

typedef struct moonsand_error moonsand_error;

MOONSAND_EXTERN moonsand_code moonsand_error_code(const moonsand_error *err);
/* "timeout", "not_found", ...; never NULL. */
MOONSAND_EXTERN const char *moonsand_code_name(moonsand_code code);
/* What happened and what to do about it, one sentence or two; never NULL. */
MOONSAND_EXTERN const char *moonsand_error_message(const moonsand_error *err);
/* What was being done ("container create"), or NULL. */
MOONSAND_EXTERN const char *moonsand_error_op(const moonsand_error *err);
/* The HTTP status of the engine's answer, or 0. */
MOONSAND_EXTERN int moonsand_error_status(const moonsand_error *err);
/* errno of a failed system call, or 0. */
MOONSAND_EXTERN int moonsand_error_errno(const moonsand_error *err);
/* The error underneath, borrowed, or NULL. */
MOONSAND_EXTERN const moonsand_error *moonsand_error_cause(const moonsand_error *err);
/* NULL is allowed. */
MOONSAND_EXTERN void moonsand_error_free(moonsand_error *err);

/* ---- loop --------------------------------------------------------------------------------- */

/* One epoll descriptor for everything. A host program either calls moonsand_loop_wait() and
 * moonsand_loop_step() in turn, or polls moonsand_loop_fd() for reading in its own loop and calls
 * moonsand_loop_step() when it is readable (timers make it readable too). */
typedef struct moonsand_loop moonsand_loop;

MOONSAND_EXTERN int moonsand_loop_new(moonsand_loop **out, moonsand_error **err);
/* The engines of the loop must have been closed and its commands freed. NULL is allowed. */
MOONSAND_EXTERN void moonsand_loop_free(moonsand_loop *loop);
MOONSAND_EXTERN int moonsand_loop_fd(const moonsand_loop *loop);
/* Nanoseconds until the next timer, 0 when something is due, -1 when there is none. */
MOONSAND_EXTERN int64_t moonsand_loop_timeout_ns(const moonsand_loop *loop);
/* Does what is ready and calls the callbacks; never blocks. Callbacks may use any function but
 * moonsand_loop_step() and moonsand_loop_free() of the same loop. */
MOONSAND_EXTERN int moonsand_loop_step(moonsand_loop *loop, moonsand_error **err);
/* Sleeps until something is ready or timeout_ns have passed (-1: for ever). A signal that the host
 * handles ends it with MOONSAND_E_INTERRUPTED, so that Ctrl-C works; but not one that tells of
 * children, the terminal, a stop and its end, or a profiler's clock (SIGCHLD, SIGWINCH, SIGURG,
 * SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGPROF, SIGVTALRM): its handler runs and the wait goes on.
 */
MOONSAND_EXTERN int moonsand_loop_wait(moonsand_loop *loop, int64_t timeout_ns,
                                       moonsand_error **err);

/* ---- engine ------------------------------------------------------------------------------- */

typedef struct moonsand_engine moonsand_engine;

typedef struct moonsand_engine_options {
    uint32_t version;
    /* "unix:///path", "tcp://host:port", "ssh://[user@]host[:port][/socket]", "embedded", or NULL:
     * look in DOCKER_CONTEXT, DOCKER_HOST, the config file's current context, the well-known Docker
     * and Podman sockets, and last a running embedded engine. */
    const char *endpoint;
    /* Directory with ca.pem, cert.pem and key.pem for tcp://; NULL: as the docker command. */
    const char *tls_dir;
    /* Longest wait for one engine call that should answer at once; default 30 s. */
    uint64_t call_timeout_ns;
    /* An agent built for the engine's architecture, when it is not this machine's; NULL: built in.
     */
    const char *agent_path;
} moonsand_engine_options;
#define MOONSAND_ENGINE_OPTIONS_INIT                                                               \
    {                                                                                              \
        1, 0, 0, 0, 0                                                                              \
    }

/* What an engine is; borrowed from it, valid once it is ready. Strings are never NULL. */
typedef struct moonsand_engine_facts {
    const char *endpoint; /* URL */
    const char
        *found_by; /* "explicit", "DOCKER_CONTEXT", "DOCKER_HOST", "config", "socket", "embedded" */
    const char *kind; /* "docker" or "podman" */
    const char *engine_version;
    const char *api_version; /* negotiated */
    const char *os, *arch, *kernel;
    const char *components; /* JSON object: {"containerd":"1.6.20","runc":"1.1.5",...} */
    int cgroup_version;     /* 1 or 2 */
    uint32_t cpus;
    uint64_t memory_bytes;
    bool rootless, userns_remap, local; /* local: the engine sees this machine's files */
    bool has_bridge;                    /* a network for the exception `network` exists */
} moonsand_engine_facts;

/* `done` gets the engine again with err NULL, or an error that it owns. */
typedef void (*moonsand_engine_done)(void *arg, moonsand_engine *engine, moonsand_error *err);

/* Finds the engine and begins to talk to it. `done` is called from a later step. Discovery that
 * finds nothing fails here, at once, with MOONSAND_E_NO_ENGINE and a message that lists all places.
 */
MOONSAND_EXTERN int moonsand_engine_open(moonsand_engine **out, moonsand_loop *loop,
                                         const moonsand_engine_options *options,
                                         moonsand_engine_done done, void *arg,
                                         moonsand_error **err);
/* Ends all that the engine still does: running runs are cancelled without callbacks, their
 * containers removed. Drives the loop for at most 5 s for that, so not from a callback. NULL is
 * allowed. */
MOONSAND_EXTERN void moonsand_engine_close(moonsand_engine *engine);
/* NULL until the engine is ready. */
MOONSAND_EXTERN const moonsand_engine_facts *moonsand_engine_get_facts(const moonsand_engine *e);
/* Work that goes on in the background (removals); 0 means that a program may exit. */
MOONSAND_EXTERN size_t moonsand_engine_pending(const moonsand_engine *engine);

/* ---- pack: what is sent to an engine as a tar stream ---------------------------------------- */

/* Files from memory and from disk, named by paths relative to the root of the archive. The stream
 * is the same for the same contents: fixed order, time, owner and group; modes 0755 for directories
 * and executable files, else 0644, unless one is given. */
typedef struct moonsand_pack moonsand_pack;

typedef struct moonsand_pack_facts {
    const char *sha256;   /* over path, type, mode, target and content of each entry, in order */
    uint64_t bytes;       /* of the tar stream */
    uint64_t files;       /* regular files and symbolic links */
    uint64_t excluded;    /* names that ignore patterns left out; a directory counts once */
    const char *escaping; /* the first symbolic link that climbs out of the archive by "..", or
                             NULL; Podman refuses a context with such a link */
} moonsand_pack_facts;

MOONSAND_EXTERN int moonsand_pack_new(moonsand_pack **out, moonsand_error **err);
/* A file from memory; data is copied. mode 0: 0644. A path may be given once only; INVALID when it
 * is absolute, empty, or has an empty part, "." or "..". */
MOONSAND_EXTERN int moonsand_pack_data(moonsand_pack *pack, const char *path, const void *data,
                                       size_t len, uint32_t mode, moonsand_error **err);
/* A regular file, opened when it is read; a symbolic link there is refused. mode 0: as on disk. */
MOONSAND_EXTERN int moonsand_pack_file(moonsand_pack *pack, const char *path, const char *host_path,
                                       uint32_t mode, moonsand_error **err);
typedef struct moonsand_tree_options {
    uint32_t version;
    const char *ignore; /* text of a .dockerignore file, or NULL */
    size_t ignore_len;
    const char *const *keep; /* paths below the directory that are sent whatever ignore says */
    size_t keep_count;
} moonsand_tree_options;
#define MOONSAND_TREE_OPTIONS_INIT                                                                 \
    {                                                                                              \
        .version = 1                                                                               \
    }
/* All below host_dir, at prefix ("": the root). Symbolic links are sent as such and never followed;
 * sockets are passed over; other special files are an error unless excluded. What is also given by
 * name, by moonsand_pack_data() or _file(), replaces what the directory has. */
MOONSAND_EXTERN int moonsand_pack_tree(moonsand_pack *pack, const char *prefix,
                                       const char *host_dir, const moonsand_tree_options *options,
                                       moonsand_error **err);
/* Reads everything once to know its hash and size, about max_bytes a call (0: all). *done says
 * whether it is finished. After an error the next call begins anew. */
MOONSAND_EXTERN int moonsand_pack_measure(moonsand_pack *pack, uint64_t max_bytes, bool *done,
                                          moonsand_error **err);
/* NULL until it is measured; valid until something is added. */
MOONSAND_EXTERN const moonsand_pack_facts *moonsand_pack_get_facts(const moonsand_pack *pack);
/* How many bytes of the stream measuring has seen so far. */
MOONSAND_EXTERN uint64_t moonsand_pack_seen(const moonsand_pack *pack);
/* Requests that still send it go on. NULL is allowed. */
MOONSAND_EXTERN void moonsand_pack_free(moonsand_pack *pack);

/* ---- untar: what an engine sends as a tar stream -------------------------------------------- */

typedef enum moonsand_tar_type {
    MOONSAND_TAR_FILE,
    MOONSAND_TAR_DIRECTORY,
    MOONSAND_TAR_SYMLINK,
    MOONSAND_TAR_HARDLINK,
    MOONSAND_TAR_OTHER /* devices and the like */
} moonsand_tar_type;

/* All of it is hostile: paths may climb, and hold control bytes. Nothing is written anywhere. */
typedef struct moonsand_tar_entry {
    const char *path;
    moonsand_tar_type type;
    uint32_t mode;    /* permission bits */
    const char *data; /* of a file, else NULL; may hold NUL bytes */
    size_t len;
    const char *target; /* of a link, else NULL */
} moonsand_tar_entry;

typedef struct moonsand_untar moonsand_untar;
/* bytes are borrowed until it is closed. max_entries and max_bytes (of all files together; 0: 10000
 * and 64 MiB) are what is taken; more is MOONSAND_E_PROTOCOL. Not compressed. */
MOONSAND_EXTERN int moonsand_untar_open(moonsand_untar **out, const void *bytes, size_t len,
                                        size_t max_entries, size_t max_bytes, moonsand_error **err);
/* *entry is valid until the next call; NULL at the end. */
MOONSAND_EXTERN int moonsand_untar_next(moonsand_untar *untar, const moonsand_tar_entry **entry,
                                        moonsand_error **err);
MOONSAND_EXTERN void moonsand_untar_close(moonsand_untar *untar); /* NULL is allowed */

/* ---- request ------------------------------------------------------------------------------ */

/* One call of the engine's API, for what has no function of its own. */
typedef struct moonsand_request moonsand_request;
typedef struct moonsand_header {
    const char *name, *value;
} moonsand_header;
/* What on_read returns when there is nothing yet: moonsand_request_resume() asks it again. */
#define MOONSAND_READ_WAIT (-1)
#define MOONSAND_READ_FAIL (-2) /* ends the request */

typedef struct moonsand_request_options {
    uint32_t version;
    const char *method; /* "GET", "POST", "DELETE", "HEAD" */
    const char *path;   /* without the version: "/containers/json?all=1"; "/libpod/..." too */
    /* At most one body: */
    const void *body; /* copied */
    size_t body_len;
    int body_fd;         /* sent from its position to its end; not closed; -1 none */
    moonsand_pack *pack; /* measured; what is sent must be what was measured */
    /* Fills buffer with up to size bytes and says how many, 0 at the end, or MOONSAND_READ_... */
    ptrdiff_t (*on_read)(void *arg, void *buffer, size_t size);
    const char *content_type; /* default "application/json" */
    /* Further ones; INVALID for those that the request has anyway and for control bytes. Their
     * values appear in no error. */
    const moonsand_header *headers;
    size_t header_count;
    uint64_t timeout_ns; /* default: the engine's call timeout; UINT64_MAX: none */
    /* The body of a 2xx answer becomes this file (mode 0600): written beside it and renamed when it
     * is whole, removed otherwise. */
    const char *out_path;
    /* Called from steps with pieces of a 2xx body as they come, which are then not collected. */
    void (*on_data)(void *arg, const char *data, size_t len);
    /* That much of a body_fd, pack or on_read was handed to the connection. on_read and on_sent may
     * call moonsand_request_hold() and _sent(), but not end or start requests. */
    void (*on_sent)(void *arg, uint64_t bytes);
    /* That much of the answer is in out_path. From steps. */
    void (*on_received)(void *arg, uint64_t bytes);
    /* Called once, always. status is 0 when err is set; a status >= 400 is not an error here. */
    void (*on_done)(void *arg, int status, const char *body, size_t len, moonsand_error *err);
    void *arg;
} moonsand_request_options;
#define MOONSAND_REQUEST_OPTIONS_INIT                                                              \
    {                                                                                              \
        .version = 1, .body_fd = -1                                                                \
    }

/* The handle is valid until on_done returns or moonsand_request_cancel(), after which there are no
 * more callbacks. To cancel it in its own on_done does nothing. */
MOONSAND_EXTERN int moonsand_request_start(moonsand_request **out, moonsand_engine *engine,
                                           const moonsand_request_options *options,
                                           moonsand_error **err);
MOONSAND_EXTERN void moonsand_request_cancel(moonsand_request *request);
/* Nothing more is received while hold is true. hold false not from on_data. */
MOONSAND_EXTERN void moonsand_request_hold(moonsand_request *request, bool hold);
/* on_read has something again. Not from on_read itself. */
MOONSAND_EXTERN void moonsand_request_resume(moonsand_request *request);
/* Bytes of a body_fd, pack or on_read that were handed to the connection so far. */
MOONSAND_EXTERN uint64_t moonsand_request_sent(const moonsand_request *request);

/* ---- sandbox ------------------------------------------------------------------------------ */

typedef struct moonsand_bind {
    const char *source; /* absolute directory on the engine's machine; mounted read-only; a link is
                         * followed when the sandbox is made, and not again */
    const char *target; /* absolute path inside */
} moonsand_bind;

typedef enum moonsand_network {
    MOONSAND_NETWORK_NONE = 0,  /* only a loopback of its own */
    MOONSAND_NETWORK_BRIDGE = 1 /* exception: the engine's default network */
} moonsand_network;

typedef enum moonsand_mode {
    MOONSAND_MODE_CONTAINER = 0, /* each run has a container of its own */
    MOONSAND_MODE_FORK =
        1 /* each run is a fork of an interpreter in a container that serves many */
} moonsand_mode;

/* How runs of one container are kept from each other and from the interpreter that they are forks
 * of, weakest first. */
typedef enum moonsand_tier {
    MOONSAND_TIER_NONE = 0,
    MOONSAND_TIER_LANDLOCK = 1, /* Landlock with scopes, seccomp; killed and wiped after each run */
    MOONSAND_TIER_NAMESPACES = 2 /* besides, namespaces and a /tmp that end with the run */
} moonsand_tier;

#define MOONSAND_WORKERS_MAX 1024

#define MOONSAND_POOL_EVENTS(X)                                                                    \
    X(STARTING, "starting", "a container is being made")                                           \
    X(READY, "ready", "it waits for a run; duration: since starting")                              \
    X(HANDED_OUT, "handed_out", "a run got it; duration: what the run waited for it")              \
    X(RETURNED, "returned", "it is ready for another run; duration: since the run's result")       \
    X(RETIRED, "retired", "it takes no more runs, and is gone or about to be; reason: why")        \
    X(FAILED, "failed", "it could not be made ready; error: why")                                  \
    X(FELL_BACK, "fell_back", "fork mode is not possible: container mode from now on; error: why")

typedef enum moonsand_pool_event_type {
#define MOONSAND_X(id, name, meaning) MOONSAND_POOL_##id,
    MOONSAND_POOL_EVENTS(MOONSAND_X)
#undef MOONSAND_X
} moonsand_pool_event_type;

/* "starting", ...; never NULL. */
MOONSAND_EXTERN const char *moonsand_pool_event_name(moonsand_pool_event_type type);

/* Why a container of a pool is retired. From MOUNTS on: what was found in it after a run. */
#define MOONSAND_RETIRE_REASONS(X)                                                                 \
    X(USED, "used", "it had its one run")                                                          \
    X(RUNS, "runs", "max_runs")                                                                    \
    X(AGE, "age", "max_age")                                                                       \
    X(KEY, "key", "a run of another trust key needed its place")                                   \
    X(HEALTH, "health", "it did not answer, or ended without a run")                               \
    X(TAMPERED, "tampered", "a run broke the agent's protocol")                                    \
    X(LOST, "lost", "the connection ended during a run")                                           \
    X(FAILED, "failed", "a run could not be started, or its killing was not answered")             \
    X(CLOSED, "closed", "the sandbox or its engine was closed")                                    \
    X(RESIZED, "resized", "fewer are wanted")                                                      \
    X(MOUNTS, "mounts", "mounts that were not there before")                                       \
    X(TMP, "tmp", "files left in /tmp")                                                            \
    X(SHM, "shm", "files left in /dev/shm")                                                        \
    X(IPC, "ipc", "System V objects or message queues")                                            \
    X(MEMORY, "memory", "more memory in use than before")                                          \
    X(DESCRIPTORS, "descriptors", "the fork server has more open files than before")               \
    X(PROCESSES, "processes", "processes that do not end")                                         \
    X(THREADS, "threads", "the fork server has more than one thread")                              \
    X(SERVER, "server", "the fork server died")                                                    \
    X(OOM, "oom", "something was killed for want of memory")

typedef enum moonsand_retire_reason {
#define MOONSAND_X(id, name, meaning) MOONSAND_RETIRE_##id,
    MOONSAND_RETIRE_REASONS(MOONSAND_X)
#undef MOONSAND_X
        MOONSAND_RETIRE_COUNT
} moonsand_retire_reason;

/* "used", ...; never NULL. */
MOONSAND_EXTERN const char *moonsand_retire_reason_name(moonsand_retire_reason reason);

typedef struct moonsand_pool_event {
    uint32_t version;
    moonsand_pool_event_type type;
    const char *container;         /* its name, "" when it has none yet */
    moonsand_retire_reason reason; /* RETIRED only */
    const char *detail;            /* RETIRED: what was found, printable; else "" */
    uint64_t runs;                 /* that it was handed out to so far */
    uint64_t duration_ns;          /* see MOONSAND_POOL_EVENTS; RETIRED: its age; else 0 */
    const moonsand_error *error;   /* FAILED and FELL_BACK, borrowed; else NULL */
} moonsand_pool_event;

/* Defaults in brackets. There is no field that opens more than the three named exceptions. */
typedef struct moonsand_sandbox_options {
    uint32_t version;
    const char *image;       /* reference or id; required */
    uint64_t nano_cpus;      /* [500000000] 1e9 = one CPU; at most the machine's */
    uint64_t memory_bytes;   /* [512 MiB] without swap; at least 16 MiB */
    uint32_t pids;           /* [128] processes and threads; at least 4 */
    uint64_t disk_bytes;     /* [64 MiB] /tmp, which is memory; at most memory/2 */
    uint32_t disk_inodes;    /* [8192] */
    uint64_t shm_bytes;      /* [16 MiB] /dev/shm */
    uint64_t file_bytes;     /* [disk_bytes] largest file (RLIMIT_FSIZE) */
    uint32_t open_files;     /* [512] RLIMIT_NOFILE */
    uint64_t timeout_ns;     /* [300 s] wall clock, from the program's start; at least 50 ms */
    uint64_t stdout_bytes;   /* [16 MiB] */
    uint64_t stderr_bytes;   /* [16 MiB] */
    uint64_t artefact_bytes; /* [disk_bytes] all artefacts together */
    uint32_t artefact_count; /* [256] */
    uint64_t value_bytes;    /* [1 MiB] result file; at most 1 MiB */
    /* exceptions; each is reported in the result's isolation */
    moonsand_network network; /* [none] */
    const moonsand_bind *binds;
    size_t bind_count;
    bool exec_tmp;       /* [false] programs in /tmp may be executed */
    const char *runtime; /* tighter: another OCI runtime, for instance "runsc"; NULL: engine's */

    /* warm: containers that are ready before a run asks for one */
    moonsand_mode mode;      /* [container] */
    uint32_t workers;        /* [container mode: 0, a container is made for each run; fork mode: 1]
                              * containers kept ready; at most MOONSAND_WORKERS_MAX, and no more
                              * than fit four fifths of the machine's memory. So many live at once
                              * at most, those with a run too: other runs wait */
    const char *language;    /* ["python"] or "lua": of the fork server */
    const char *interpreter; /* ["python3"; "lua5.4"] its program: one word, found in PATH */
    const char *const *preload; /* names of modules that are imported before a run comes */
    size_t preload_count;
    const char *preload_script; /* program text, run after the imports; NULL: none */
    moonsand_tier
        require;       /* [none: the best there is] fork mode: refuse runs that would get less */
    uint32_t max_runs; /* [10000] fork mode: of one worker; its container is then replaced */
    uint64_t
        max_age_ns; /* [1 h] a container that was ready so long ago is replaced; at least 1 s */
    /* What becomes of the containers; called from steps only. The event is valid meanwhile. */
    void (*on_pool)(void *arg, const moonsand_pool_event *event);
    void *pool_arg;
} moonsand_sandbox_options;
#define MOONSAND_SANDBOX_OPTIONS_INIT                                                              \
    {                                                                                              \
        .version = 1                                                                               \
    }

typedef struct moonsand_sandbox moonsand_sandbox;

/* Checks the options (MOONSAND_E_INVALID names the one, MOONSAND_E_UNSUPPORTED what the engine or
 * machine lacks). The engine must be ready. Image and self-check wait for the first run, or with
 * workers for the next step, which begins to make them. */
MOONSAND_EXTERN int moonsand_sandbox_new(moonsand_sandbox **out, moonsand_engine *engine,
                                         const moonsand_sandbox_options *options,
                                         moonsand_error **err);
/* Runs of it go on, with what they need of its workers; idle ones end at once, and on_pool is not
 * called any more. NULL is allowed. */
MOONSAND_EXTERN void moonsand_sandbox_free(moonsand_sandbox *sandbox);

/* ---- pool --------------------------------------------------------------------------------- */

/* Of the last 1024 of their kind, 0 when there was none. */
typedef struct moonsand_pool_times {
    uint64_t count; /* since the sandbox was made */
    uint64_t p50_ns, p99_ns, max_ns;
} moonsand_pool_times;

typedef struct moonsand_pool_stats {
    uint32_t version;
    moonsand_mode mode; /* in force: container after a fall back */
    moonsand_tier tier; /* that runs get; NONE in container mode, and until the first is ready */
    bool fell_back;
    uint32_t workers; /* wanted */
    uint32_t ready, busy, starting;
    uint32_t retiring; /* finish their run, then go */
    uint32_t waiting;  /* runs */
    uint64_t runs;     /* handed out */
    uint64_t failed;   /* that could not be made ready; a fall back is none */
    uint64_t retired[MOONSAND_RETIRE_COUNT];
    moonsand_pool_times hand_out; /* from moonsand_run_start() to the worker that takes the run */
    moonsand_pool_times refill;   /* from the start of a container until it is ready */
} moonsand_pool_stats;

/* stats->version says which layout is wanted (1). All zero but mode for a sandbox without workers,
 * and once its engine was closed. */
MOONSAND_EXTERN int moonsand_sandbox_pool_stats(const moonsand_sandbox *sandbox,
                                                moonsand_pool_stats *stats, moonsand_error **err);
/* Another number of workers, at least 1. Fewer: idle ones go at once, busy ones after their run.
 * INVALID for a sandbox that was made without workers, UNSUPPORTED when the machine's memory does
 * not hold so many. */
MOONSAND_EXTERN int moonsand_sandbox_pool_resize(moonsand_sandbox *sandbox, uint32_t workers,
                                                 moonsand_error **err);

/* ---- run ---------------------------------------------------------------------------------- */

/* Statuses in the order of precedence, strongest first. */
#define MOONSAND_STATUSES(X)                                                                       \
    X(TAMPERED, "tampered", "the protocol or the container was interfered with")                   \
    X(LOST, "lost", "engine or connection died; what happened is unknown")                         \
    X(CANCELLED, "cancelled", "ended because the caller asked for it")                             \
    X(TIMEOUT, "timeout", "ran longer than its time limit")                                        \
    X(OOM, "oom", "killed for want of memory")                                                     \
    X(OUTPUT_LIMIT, "output_limit", "wrote more than its output limit")                            \
    X(SIGNAL, "signal", "died of a signal that was not ours")                                      \
    X(EXIT, "exit", "ended with an exit code other than 0")                                        \
    X(OK, "ok", "ended with exit code 0")

typedef enum moonsand_status {
#define MOONSAND_X(id, name, meaning) MOONSAND_S_##id,
    MOONSAND_STATUSES(MOONSAND_X)
#undef MOONSAND_X
} moonsand_status;

MOONSAND_EXTERN const char *moonsand_status_name(moonsand_status status);

typedef struct moonsand_output {
    const char *data; /* what was kept; NULL when a callback took it; may hold NUL bytes */
    size_t len;
    uint64_t bytes; /* what the program wrote, as far as it was read */
    bool truncated; /* the limit cut it */
} moonsand_output;

typedef struct moonsand_artefact {
    const char *path; /* relative to the output directory, checked: no "..", no empty part */
    const char *data;
    size_t len;
    uint32_t mode; /* permission bits, at most 0777 */
} moonsand_artefact;

typedef struct moonsand_rejected {
    const char *path;   /* as the program named it, printable; may be cut */
    const char *reason; /* "symlink", "size", "count", "special", "name", "changed", "unreadable" */
} moonsand_rejected;

typedef struct moonsand_result {
    uint32_t version;
    moonsand_status status;
    const char *reason; /* one sentence when the status is not ok, exit or signal; else "" */
    int exit_code;      /* -1 when the program did not exit by itself */
    int signal;         /* 0 when no signal ended it */
    moonsand_output out, err;
    uint64_t wall_ns;     /* of the program */
    uint64_t cpu_ns;      /* of the program and its children */
    uint64_t overhead_ns; /* from moonsand_run_start() to the result, less wall_ns */
    uint64_t create_ns, start_ns,
        finish_ns;        /* parts: create+attach; start to program; end to result */
    uint64_t memory_peak; /* bytes, of the whole container; 0 when the kernel does not tell */
    uint32_t oom_kills, stragglers_killed;
    uint64_t pids_refused; /* forks that the process limit refused */
    const moonsand_artefact *artefacts;
    size_t artefact_count;
    const moonsand_rejected *rejected;
    size_t rejected_count;
    const char *value; /* bytes of the result file, or NULL; hostile: parse with care */
    size_t value_len;
    const char *isolation;    /* JSON object: what was really applied */
    const char *image;        /* id of the image that ran */
    const char *container;    /* its name */
    uint64_t queue_ns;        /* part of create_ns: waiting for a worker of the pool */
    uint64_t reports;         /* that on_report was given, or would have been */
    uint64_t reports_dropped; /* longer than MOONSAND_REPORT_MAX, or beyond the others' bounds */
} moonsand_result;

/* Bounds of what a run may report; more is dropped and counted. */
#define MOONSAND_REPORT_MAX 65536           /* bytes of one */
#define MOONSAND_REPORTS_MAX 10000          /* of a run */
#define MOONSAND_REPORTS_BYTES_MAX 16777216 /* of all of them together */

typedef struct moonsand_file {
    const char *path; /* where, relative to the working directory */
    const void *data; /* copied */
    size_t len;
    uint32_t mode; /* 0: 0644 */
} moonsand_file;

typedef enum moonsand_stdin {
    MOONSAND_STDIN_EMPTY = 0, /* end of file at once */
    MOONSAND_STDIN_BYTES = 1, /* stdin_data */
    MOONSAND_STDIN_STREAM = 2 /* moonsand_run_write() until moonsand_run_close_stdin() */
} moonsand_stdin;

typedef struct moonsand_run moonsand_run;

typedef struct moonsand_run_options {
    uint32_t version;
    const char *const *argv; /* no shell; argv[0] is looked up in PATH */
    size_t argc;
    const char *const *env; /* "NAME=value", on top of PATH, LANG, HOME and TMPDIR */
    size_t envc;
    const moonsand_file *files;
    size_t file_count;
    moonsand_stdin stdin_mode;
    const void *stdin_data; /* copied */
    size_t stdin_len;
    uint64_t timeout_ns; /* 0: the sandbox's; can only be shorter */
    /* Called from steps. When set, that stream is handed over and not collected. stream is 1 or 2.
     */
    void (*on_output)(void *arg, int stream, const char *data, size_t len);
    /* moonsand_run_write() would take bytes again. */
    void (*on_stdin)(void *arg, moonsand_run *run);
    /* Called once, unless the run is freed before. Either result (borrowed from run) or err (owned
     * by the callee) is set. */
    void (*on_done)(void *arg, moonsand_run *run, const moonsand_result *result,
                    moonsand_error *err);
    void *arg;
    bool stream_stdout, stream_stderr; /* which of the two on_output takes */
    /* Fork mode: runs of two keys never share a worker. NULL: the sandbox's own; at most 256 bytes.
     */
    const char *trust_key;
    /* NULL: the program can report nothing. Called from steps with each line that it writes to the
     * file $MOONSAND_REPORTS, while it runs and at the latest before on_done; without the line's
     * end, never empty, not ended by NUL; hostile: parse with care. */
    void (*on_report)(void *arg, const char *report, size_t len);
} moonsand_run_options;
#define MOONSAND_RUN_OPTIONS_INIT                                                                  \
    {                                                                                              \
        .version = 1                                                                               \
    }

MOONSAND_EXTERN int moonsand_run_start(moonsand_run **out, moonsand_sandbox *sandbox,
                                       const moonsand_run_options *options, moonsand_error **err);
/* Takes as much of data as there is room for and says how much in *taken (0: wait for on_stdin). */
MOONSAND_EXTERN int moonsand_run_write(moonsand_run *run, const void *data, size_t len,
                                       size_t *taken, moonsand_error **err);
MOONSAND_EXTERN void moonsand_run_close_stdin(moonsand_run *run);
/* Asks for the end; the result, with the partial output, comes through on_done. Safe at any time.
 */
MOONSAND_EXTERN void moonsand_run_cancel(moonsand_run *run);
/* Where the run is: "queued" (for a worker), "preparing", "creating", "starting", "running",
 * "ending", "done". */
MOONSAND_EXTERN const char *moonsand_run_phase(const moonsand_run *run);
/* A run that is not done is killed and its container removed in the background. NULL is allowed. */
MOONSAND_EXTERN void moonsand_run_free(moonsand_run *run);

/* Writes the artefacts below dir (created when missing, its parent must exist), never following a
 * link that was there before. */
MOONSAND_EXTERN int moonsand_result_save(const moonsand_result *result, const char *dir,
                                         moonsand_error **err);

/* ---- programs of this machine -------------------------------------------------------------- */

/* For helpers that are programs: credential helpers, mmdebstrap. Not for what nobody trusts. */
typedef struct moonsand_command moonsand_command;

typedef struct moonsand_command_result {
    uint32_t version;
    int exit_code;            /* -1 when a signal ended it */
    int signal;               /* 0 when it exited */
    moonsand_output out, err; /* data NULL when on_output took it */
} moonsand_command_result;

typedef struct moonsand_command_options {
    uint32_t version;
    const char *const *argv; /* no shell; argv[0] is looked up in PATH */
    size_t argc;
    const char *const *env; /* "NAME=value", on top of this process's environment */
    size_t envc;
    const char *cwd;        /* NULL: this process's */
    const void *stdin_data; /* copied; NULL: end of file at once */
    size_t stdin_len;
    uint64_t timeout_ns; /* 0: none; then MOONSAND_E_TIMEOUT */
    size_t max_output;   /* kept of each stream, the rest is read and dropped; default 1 MiB */
    bool stream_stdout, stream_stderr; /* which of the two on_output takes */
    /* Called from steps, with pieces of stream 1 or 2. */
    void (*on_output)(void *arg, int stream, const char *data, size_t len);
    /* Called once from a step, unless it is freed before. Either result (borrowed from command) or
     * err (owned by the callee) is set. An exit code other than 0 is no error. */
    void (*on_done)(void *arg, const moonsand_command_result *result, moonsand_error *err);
    void *arg;
} moonsand_command_options;
#define MOONSAND_COMMAND_OPTIONS_INIT                                                              \
    {                                                                                              \
        .version = 1                                                                               \
    }

/* Starts a program in a session and process group of its own, with descriptors 0 to 2 only, default
 * signals and none blocked. MOONSAND_E_NOT_FOUND: there is no such program; MOONSAND_E_IO: it
 * cannot be executed. */
MOONSAND_EXTERN int moonsand_command_start(moonsand_command **out, moonsand_loop *loop,
                                           const moonsand_command_options *options,
                                           moonsand_error **err);
/* Streamed output waits in the program's pipes while hold is true. Safe in on_output. */
MOONSAND_EXTERN void moonsand_command_hold(moonsand_command *command, bool hold);
/* SIGTERM to its process group, SIGKILL after 2 s; on_done comes with MOONSAND_E_CANCELLED. */
MOONSAND_EXTERN void moonsand_command_cancel(moonsand_command *command);
/* Ends it like cancel when it still runs, without on_done; that goes on in the loop, and
 * moonsand_loop_free() waits for it (at most 3 s). NULL is allowed. */
MOONSAND_EXTERN void moonsand_command_free(moonsand_command *command);

/* ---- journal: a file of lines that only grows ------------------------------------------------ */

/* What must outlive a crash at any moment: each record is one line, written by one call. Of what a
 * crash leaves, at most the last line is torn; it was never whole, and is cut off before the next
 * record is written. Functions that write wait for the disk. */
typedef struct moonsand_journal moonsand_journal;

/* Longest record in bytes, without its line end. */
#define MOONSAND_JOURNAL_LINE_MAX ((size_t)16 << 20)

typedef enum moonsand_journal_mode {
    MOONSAND_JOURNAL_READ = 0,    /* takes no lock: a writer may be at work */
    MOONSAND_JOURNAL_CREATE = 1,  /* CONFLICT when something is in the file */
    MOONSAND_JOURNAL_CONTINUE = 2 /* what is there must be read to its end before a record is added;
                                     made when there is none */
} moonsand_journal_mode;

typedef struct moonsand_journal_options {
    uint32_t version;
    moonsand_journal_mode mode;
    /* [1 s] A record is followed by fdatasync() when so long has passed since the last one, and
     * closing by one more. 1: each record. UINT64_MAX: never. */
    uint64_t sync_ns;
} moonsand_journal_options;
#define MOONSAND_JOURNAL_OPTIONS_INIT                                                              \
    {                                                                                              \
        .version = 1                                                                               \
    }

typedef struct moonsand_journal_facts {
    uint64_t lines;   /* read and written so far */
    uint64_t line_at; /* where in the file the line begins that was read last */
    uint64_t bytes;   /* of whole lines, as far as it was read, and written */
    uint64_t torn;    /* what follows them; known at the end */
} moonsand_journal_facts;

/* A new file has the mode that the umask leaves (0666). Only regular files; for writing no symbolic
 * link. CONFLICT, with the process id when the kernel tells it, while another one writes to it. */
MOONSAND_EXTERN int moonsand_journal_open(moonsand_journal **out, const char *path,
                                          const moonsand_journal_options *options,
                                          moonsand_error **err);
/* The next whole line without its end, NUL-terminated, borrowed until the next call; NULL at the
 * end, where a reader may ask again later. PROTOCOL for what cannot have been written there: bytes
 * that are not UTF-8, a NUL, a line that is too long. */
MOONSAND_EXTERN int moonsand_journal_next(moonsand_journal *journal, const char **line, size_t *len,
                                          moonsand_error **err);
/* Fails with PROTOCOL for the line that was read last: "FILE: line 3 (byte 120) WHAT", and what can
 * be done about it. For callers that find more wrong with it. */
MOONSAND_EXTERN int moonsand_journal_damaged(const moonsand_journal *journal, const char *what,
                                             moonsand_error **err);
/* One record: UTF-8 without line ends and NUL. When it cannot be written whole (IO), what came of
 * it is taken away again: the journal is good, and the next call may succeed. When only fdatasync()
 * fails it stays. CONFLICT when somebody else wrote to the file or removed it. */
MOONSAND_EXTERN int moonsand_journal_append(moonsand_journal *journal, const char *line, size_t len,
                                            moonsand_error **err);
/* fdatasync() of what was not synced yet, whatever the policy. */
MOONSAND_EXTERN int moonsand_journal_sync(moonsand_journal *journal, moonsand_error **err);
/* Borrowed from the journal, and kept up to date by it. */
MOONSAND_EXTERN const moonsand_journal_facts *
moonsand_journal_get_facts(const moonsand_journal *journal);
/* Frees it also when it fails, which says that what was written last may not outlive a power
 * failure. NULL is allowed. */
MOONSAND_EXTERN int moonsand_journal_close(moonsand_journal *journal, moonsand_error **err);

/* ---- the machine, and an engine of our own ------------------------------------------------- */

/* JSON object with facts of this machine for `moonsand doctor`: kernel, arch, cgroup, landlock,
 * userns, cpus, memory, boot_id, machine_id, disk. The caller frees it with moonsand_free(). */
MOONSAND_EXTERN int moonsand_host_facts(char **out, moonsand_error **err);
/* The value of the label moonsand.owner of containers that this process makes. Free *out with
 * moonsand_free(). */
MOONSAND_EXTERN int moonsand_owner_label(char **out, moonsand_error **err);
/* True if the owner named by a container label still lives on this machine; a label of another
 * machine or process namespace counts as living until its lease ends. */
MOONSAND_EXTERN bool moonsand_owner_alive(const char *owner_label, int64_t lease_epoch_s);
MOONSAND_EXTERN void moonsand_free(void *p);
/* 64 hexadecimal digits and a NUL. */
MOONSAND_EXTERN int moonsand_sha256(char out[65], const void *data, size_t len,
                                    moonsand_error **err);

/* Starts an engine of our own (dockerd, else podman) in the background, on a private socket and
 * data root below dir (NULL: /var/lib/moonsand as root, else $XDG_DATA_HOME/moonsand). Returns when
 * it was launched, not when it answers: connect to *socket until it does. It outlives the caller.
 * kind: "docker", "podman" or NULL. Already running: success. Free *socket with moonsand_free(). */
MOONSAND_EXTERN int moonsand_embedded_start(char **socket, const char *dir, const char *kind,
                                            moonsand_error **err);
/* Ends it and all its processes, waits up to 10 s. Not running: success. */
MOONSAND_EXTERN int moonsand_embedded_stop(const char *dir, moonsand_error **err);
/* JSON object: running (bool), pid, kind, socket, log, dir, network (null, or an object: bridge,
 * subnet, both absent for a rootless engine; missing: why image builds cannot reach the outside,
 * absent when they can; apart: containers with a network cannot reach each other).
 * Free with moonsand_free(). */
MOONSAND_EXTERN int moonsand_embedded_status(char **out, const char *dir, moonsand_error **err);

#ifdef __cplusplus
}
#endif
#endif
