/* From limits to the container: one resolved description, and one writer for each engine kind. Hard
 * defaults; what a caller gives can only tighten or open one of the three named exceptions
 * (network, read-only binds, exec_tmp). Source: reference "hardest practical default". */
#ifndef MS_SPEC_H
#define MS_SPEC_H

#include <jansson.h>

#include "mem.h"
#include "moonsand.h"

#define MS_BIND_MAX 16
#define MS_VOLUME_MAX 64
/* When the machine runs out of memory, the sandboxes go before anything else that matters. */
#define MS_OOM_SCORE_ADJ 500
/* The mounts that cover image volumes (and /run, /var/tmp on Podman) hold nothing. */
#define MS_COVER_BYTES 65536

/* A sandbox's limits with the defaults filled in; strings owned. */
typedef struct ms_limits {
    char *image, *runtime; /* runtime may be NULL */
    uint64_t nano_cpus, memory_bytes, disk_bytes, shm_bytes, file_bytes, timeout_ns, stdout_bytes,
        stderr_bytes, artefact_bytes, value_bytes;
    uint32_t pids, disk_inodes, open_files, artefact_count;
    moonsand_network network;
    moonsand_bind *binds; /* strings owned, too */
    size_t bind_count;
    bool exec_tmp;
    bool inodes_given; /* not the default: an engine that cannot apply it must refuse */
} ms_limits;
void ms_limits_free(ms_limits *l);
/* Fills in defaults and checks each value: INVALID names option, value, allowed range; UNSUPPORTED
 * when it is above the machine's CPUs or memory (facts). Binds: absolute, normal (no "..", no
 * "//"), source not /, /proc, /sys, /dev, /run, /var/run, /etc, /root, /var/lib/docker,
 * /var/lib/containers, /var/lib/moonsand nor a parent or child of those that matters. Where the
 * engine sees this machine's files, links are resolved, and the directory must not hold the
 * engine's socket; target not over /, /proc, /sys, /dev, /tmp, /.moonsand; at most 16. */
int ms_limits_resolve(ms_limits *out, const moonsand_sandbox_options *options,
                      const moonsand_engine_facts *facts, moonsand_error **err);

/* Absolute, below /, no empty part, no "." or "..", nothing that an engine's option syntax would
 * cut. */
bool ms_path_normal(const char *path);
bool ms_path_within(const char *path, const char *top); /* is top, or lies below it */

/* One container to be, resolved. All borrowed. */
typedef struct ms_container {
    const ms_limits *limits;
    const char *image_id;       /* with the agent layer, by id */
    const char *name;           /* "moonsand-<hex>" */
    const char *owner;          /* label moonsand.owner */
    int64_t lease_epoch_s;      /* label moonsand.lease */
    uint32_t uid;               /* and gid; of this container alone */
    const char *const *volumes; /* paths of the image's VOLUMEs: each is covered by a small tmpfs */
    size_t volume_count;
    const char *seccomp_path; /* Podman: file on the engine's machine with the profile */
    bool server;              /* with a fork server: its runs are walled in from inside */
} ms_container;

/* What differs between engine kinds, each in a file of its own: spec_docker.c, spec_podman.c. */
typedef struct ms_profile {
    const char *kind;
    /* The path of the call (without the version) and its body. UNSUPPORTED with the reason when
     * this engine cannot apply something. */
    int (*create)(ms_buf *path, ms_buf *body, const ms_container *c,
                  const moonsand_engine_facts *facts, moonsand_error **err);
    bool seccomp_by_path;       /* profile must be a file on the engine's machine */
    uint32_t uid_low, uid_high; /* where container ids are the machine's ids */
} ms_profile;
const ms_profile *ms_profile_for(const char *kind); /* "docker", "podman"; else NULL */
extern const ms_profile ms_profile_docker, ms_profile_podman;

/* Shared by the profiles. Lists end with NULL. */
extern const char *const ms_masked_default[];  /* what engines mask by themselves */
extern const char *const ms_masked_extended[]; /* what we mask on top */
extern const char *const ms_readonly_paths[];
/* INVALID or UNSUPPORTED when a container like this must not be created at all. */
int ms_container_check(const ms_container *c, moonsand_error **err);
/* Its process limit: what a run is promised, and what a fork server takes for itself. */
uint32_t ms_container_pids(const ms_container *c);
/* An image volume that needs a cover: all but /tmp and those that are a bind's target. */
bool ms_volume_needs_cover(const ms_container *c, const char *path);
/* Sets object[key], takes value; *bad becomes true when there is no memory, for one check at the
 * end. */
void ms_spec_set(bool *bad, json_t *object, const char *key, json_t *value);
json_t *ms_spec_strings(bool *bad, const char *const *list); /* NULL-terminated */
json_t *ms_spec_labels(bool *bad, const ms_container *c);

/* Our seccomp profile as Docker's JSON, for the engine's arch ("x86_64"/"amd64", "aarch64"/"arm64";
 * else UNSUPPORTED). Deterministic bytes. Default EPERM, ENOSYS for clone3; no namespaces, mount,
 * ptrace, keyring, bpf, io_uring, userfaultfd, SysV IPC, POSIX mq, mknod; sockets UNIX/INET/INET6
 * only; native ABI only. server: besides what a fork server needs to wall its runs in. */
int ms_seccomp_json(ms_buf *out, const char *arch, bool server, moonsand_error **err);
/* Writes the profile for a local Podman to a file of ours named by its content (in
 * /run/moonsand as root, else $XDG_RUNTIME_DIR/moonsand), checks an existing one byte by byte. */
int ms_seccomp_file(char **path, const char *arch, bool server, moonsand_error **err);

/* The self-check: compares what the agent saw from inside (proto.h, MS_PROBE_NAMES) with what was
 * asked for. ISOLATION lists every wall that is missing. */
typedef struct ms_probe ms_probe;
int ms_probe_new(ms_probe **out, moonsand_error **err);
void ms_probe_free(ms_probe *p);
int ms_probe_add(ms_probe *p, const char *name, const char *text, size_t len, moonsand_error **err);
int ms_probe_verify(const ms_probe *p, const ms_container *c, const moonsand_engine_facts *facts,
                    moonsand_error **err);

/* What is known of a run's walls besides its container's description. */
typedef struct ms_applied {
    bool landlocked, self_checked;
    bool preloaded;         /* there was a fork server */
    bool fork;              /* and the container serves many runs; the next four are about that */
    int tier;               /* MS_TIER_* */
    const char *namespaces; /* "user,mnt,...": new for this run */
    const char *trust_key;  /* or NULL */
    uint64_t worker_runs;   /* that came before it */
    const char *fell_back;  /* why fork mode was given up, or NULL */
} ms_applied;

/* The isolation object of the result: {"mode":"container","network":"none","rootfs":"read-only",
 * "capabilities":[],"no_new_privileges":true,"seccomp":"moonsand","uid":N,"memory":N,"cpus":0.5,
 * "pids":N,"tmp":{..},"ipc":"private","landlock":true,"exceptions":["network=bridge",
 * "bind=/data:/data:ro","exec_tmp"],"self_check":true,"masked":"engine"|"extended", ...}; in fork
 * mode also "tier", "namespaces" (array), "trust_key" (string or null) and "worker_runs". */
int ms_isolation_json(ms_buf *out, const ms_container *c, const moonsand_engine_facts *facts,
                      const ms_applied *a, moonsand_error **err);

/* A tar with what goes into an image: the agent (directory and file owned by root, 0755/0555, fixed
 * time) and an /etc/hosts with localhost. archive.c. */
int ms_archive_agent(ms_buf *out, const void *agent, size_t len, moonsand_error **err);

#endif
