/* The agent protocol: what host and agent say to each other over the container's stdin and stdout.
 * Shared by core/src/agent.c and core/agent/; needs nothing but the C library.
 *
 * A frame is [type u8][0 0 0][length u32 big endian][payload]. A payload is either raw bytes or
 * fields; a field is [tag u8][length u32 big endian][bytes]; numbers are 8 bytes big endian.
 * The program never holds a descriptor of this stream, so what it prints is always payload.
 *
 *   host                                agent
 *                                       HELLO
 *   CHECK                               PROBE
 *   SERVER                              READY or FAILED
 *   PING                                PONG
 *   REQUEST, FILE+FILE_DATA ..., GO     STARTED or FAILED
 *   STDIN ... STDIN_EOF (by credit)     STDOUT, STDERR, REPORT, CREDIT ...
 *   KILL (any time after REQUEST)       VALUE, ARTEFACT+ARTEFACT_DATA+ARTEFACT_END, REJECTED ...
 *                                       FINAL, then READY or RETIRE (with SERVER only)
 *
 * CHECK, SERVER and PING are optional, and come between runs only; CHECK and SERVER once, before
 * the first REQUEST. The host need not wait for HELLO. Without SERVER the agent exits after FINAL;
 * with it, after RETIRE, or when the host hangs up. It always exits after FAILED, and with PID 1
 * everything in the container. End of file on the agent's stdin means that the host is gone: it
 * kills all and exits. */
#ifndef MS_PROTO_H
#define MS_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MS_PROTO_VERSION 3
#define MS_PROTO_HEAD 8
#define MS_PROTO_MAX (1u << 20) /* longest payload; longer is tampered */
#define MS_PROTO_STDIN_CREDIT                                                                      \
    (1u << 18) /* bytes of STDIN the host may send before the first CREDIT */

/* Reports: with MS_FLAG_REPORTS the program has the writing end of a pipe as this descriptor, and
 * each line that it writes there goes to the host as a REPORT, without its end. High enough to be
 * out of the way of scripts that use the first numbers for themselves; the lowest limit of open
 * files that there may be is 16. What is beyond the bounds is thrown away by the agent, and
 * counted. */
#define MS_REPORTS_FD 15
#define MS_REPORT_MAX (1u << 16)        /* bytes of one */
#define MS_REPORTS_MAX 10000            /* of a run */
#define MS_REPORTS_BYTES_MAX (1u << 24) /* of all of them together */

enum {
    /* host to agent */
    MS_F_REQUEST = 0x01, /* fields MS_T_ARGV ... */
    MS_F_FILE = 0x02, /* fields PATH (relative to CWD), MODE, SIZE; then SIZE bytes in FILE_DATA */
    MS_F_FILE_DATA = 0x03, /* raw */
    MS_F_GO = 0x04,        /* empty */
    MS_F_STDIN = 0x05,     /* raw */
    MS_F_STDIN_EOF = 0x06, /* empty */
    MS_F_KILL = 0x07,      /* empty: kill the program; FINAL says killed = MS_KILLED_HOST */
    MS_F_CHECK = 0x08,     /* empty: PROBE */
    MS_F_SERVER = 0x09,    /* fields LANGUAGE ... TMP_EXEC: start a fork server for the runs */
    MS_F_PING = 0x0a,      /* empty */
    /* agent to host */
    MS_F_HELLO = 0x81,         /* fields VERSION, LANDLOCK (ABI or 0) */
    MS_F_PROBE = 0x82,         /* fields PROBE, repeated: "name\0text" */
    MS_F_STARTED = 0x83,       /* empty: execve succeeded */
    MS_F_STDOUT = 0x84,        /* raw */
    MS_F_STDERR = 0x85,        /* raw */
    MS_F_CREDIT = 0x86,        /* fields SIZE: so many more bytes of STDIN may come */
    MS_F_VALUE = 0x87,         /* raw: the result file */
    MS_F_ARTEFACT = 0x88,      /* fields PATH, MODE */
    MS_F_ARTEFACT_DATA = 0x89, /* raw */
    MS_F_ARTEFACT_END =
        0x8a,             /* fields SIZE: bytes sent; REASON when it is to be rejected after all */
    MS_F_REJECTED = 0x8b, /* fields PATH, REASON */
    MS_F_FINAL = 0x8c,    /* fields from WALL_NS on */
    MS_F_FAILED = 0x8d,   /* fields STAGE, ERRNO, MESSAGE: the program was not started */
    MS_F_READY = 0x8e,    /* fields TIER, NAMESPACES, MEMORY: a run may come */
    MS_F_RETIRE = 0x8f,   /* fields REASON, MESSAGE: no run may come any more */
    MS_F_PONG = 0x90,     /* empty */
    MS_F_REPORT = 0x91    /* raw: one line that the program wrote to MS_REPORTS_FD; not empty */
};

enum {
    MS_T_ARGV = 1,       /* repeated */
    MS_T_ENV = 2,        /* repeated, "NAME=value"; the whole environment */
    MS_T_CWD = 3,        /* absolute; made by the agent (mode 0755) when missing */
    MS_T_OUTPUT_DIR = 4, /* absolute; made likewise; artefacts are read from here */
    MS_T_VALUE_FILE = 5, /* absolute; read after the end when it is a regular file */
    MS_T_WALL_LIMIT_NS = 6,
    MS_T_STDOUT_MAX = 7,
    MS_T_STDERR_MAX = 8,
    MS_T_ARTEFACT_COUNT_MAX = 9,
    MS_T_ARTEFACT_BYTES_MAX = 10, /* of all together */
    MS_T_VALUE_MAX = 11,
    MS_T_FLAGS = 12, /* MS_FLAG_* */
    MS_T_FSIZE = 13, /* RLIMIT_FSIZE of the program, 0 none */

    /* SERVER; also ARGV (the interpreter: one word), ENV and FSIZE */
    MS_T_LANGUAGE = 14,       /* "python", "lua" */
    MS_T_PRELOAD = 15,        /* repeated: a module's name */
    MS_T_PRELOAD_SCRIPT = 16, /* text of a program in that language, run after the imports */
    MS_T_TIER_LOWEST = 17,    /* MS_TIER_*: FAILED (stage "isolation") rather than less */
    MS_T_TMP_BYTES = 18,      /* of each run's own /tmp; TMP_INODES and SHM_BYTES likewise */
    MS_T_TMP_INODES = 19,
    MS_T_SHM_BYTES = 33,
    MS_T_NET_SHARED =
        34,             /* 1: runs use the container's network; 0: each has a loopback of its own */
    MS_T_TMP_EXEC = 35, /* 1: programs in /tmp may be executed */

    MS_T_VERSION = 20,
    MS_T_LANDLOCK = 21,
    MS_T_PATH = 22,
    MS_T_MODE = 23,
    MS_T_SIZE = 24,
    MS_T_REASON = 25, /* symlink, size, count, special, name, changed, unreadable */
    MS_T_PROBE = 26,
    MS_T_STAGE = 27, /* "exec", "file", "request", "limit", "landlock", "preload", "isolation" */
    MS_T_ERRNO = 28,
    MS_T_MESSAGE = 29,
    MS_T_TIER = 30,       /* MS_TIER_* that the runs of this server get */
    MS_T_NAMESPACES = 31, /* "user,mnt,pid,ipc,uts,net,cgroup": new for each run; may be empty */
    MS_T_MEMORY = 32,     /* bytes that the container holds now, between runs; 0 not known */

    MS_T_WALL_NS = 40,
    MS_T_CPU_NS = 41,
    MS_T_EXIT_CODE = 42, /* present when the program exited by itself */
    MS_T_SIGNAL = 43,    /* present when a signal ended it */
    MS_T_KILLED = 44,    /* MS_KILLED_*: the first reason for which the agent killed it, 0 none */
    MS_T_OOM_KILLS = 45, /* counter delta */
    MS_T_MEMORY_PEAK = 46,
    MS_T_PIDS_REFUSED = 47,
    MS_T_STRAGGLERS = 48,
    MS_T_STDOUT_BYTES = 49, /* read from the program, sent or not */
    MS_T_STDERR_BYTES = 50,
    MS_T_LANDLOCKED = 51,     /* 1: the program ran inside a Landlock domain */
    MS_T_REPORTS_DROPPED = 52 /* with MS_FLAG_REPORTS only: lines that were thrown away */
};

enum { MS_FLAG_STDIN = 2, MS_FLAG_LANDLOCK = 4, MS_FLAG_REPORTS = 8 };

/* How a fork server keeps one run from the next and from itself, weakest first. */
enum {
    MS_TIER_NONE = 0,
    MS_TIER_LANDLOCK = 1,  /* Landlock with scopes, seccomp, kill and wipe after each run */
    MS_TIER_NAMESPACES = 2 /* besides, namespaces and a /tmp that live as long as the run */
};

/* REASON of RETIRE: what the agent found when it compared the container with what it was before
 * the first run, or "server" when the fork server has died, "oom" when one was killed for want of
 * memory. */
#define MS_RETIRE_REASONS                                                                          \
    "mounts", "tmp", "shm", "ipc", "memory", "descriptors", "processes", "threads", "server", "oom"
enum {
    MS_KILLED_NO = 0,
    MS_KILLED_TIMEOUT = 1,
    MS_KILLED_STDOUT = 2, /* output limits */
    MS_KILLED_STDERR = 3,
    MS_KILLED_HOST = 4
};

/* Names in PROBE. status: /proc/self/status of the agent. mounts: /proc/self/mountinfo. net:
 * /proc/net/dev. route: /proc/net/route. ns: lines "name inode" of /proc/self/ns. cgroup: lines
 * "key value" with memory.max, memory.swap.max (v1: memsw), cpu.max ("quota period"), pids.max,
 * version. limits: /proc/self/limits. id: "uid gid groups...". masked: lines "path state", state
 * one of empty, missing, denied, readable; for the paths that must not be written to (/, /proc/sys,
 * /proc/bus, /proc/fs, /proc/irq, /proc/sysrq-trigger, /sys, and /sys/fs/cgroup or in version 1
 * /sys/fs/cgroup/memory) readonly or writable, as they are mounted, missing or denied.
 * oom_score_adj. A number that a controller does not offer has no line in cgroup. */
#define MS_PROBE_NAMES                                                                             \
    "status", "mounts", "net", "route", "ns", "cgroup", "limits", "id", "masked", "oom_score_adj"

#define MS_AGENT_PATH_INSIDE "/.moonsand/agent"
#define MS_PYTHON_DIR_INSIDE "/.moonsand/python" /* where Python finds the module moonsand */

#define MS_PATH_MAX 4096 /* bytes of an artefact's or file's path */
#define MS_PATH_PART_MAX 255
#define MS_PATH_DEPTH 32 /* parts */

/* Writing and reading numbers; inline, so that agent and core need no common object. */
static inline void ms_put_u32(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static inline uint32_t ms_get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline void ms_put_u64(unsigned char *p, uint64_t v)
{
    ms_put_u32(p, (uint32_t)(v >> 32));
    ms_put_u32(p + 4, (uint32_t)v);
}

static inline uint64_t ms_get_u64(const unsigned char *p)
{
    return (uint64_t)ms_get_u32(p) << 32 | ms_get_u32(p + 4);
}

/* Length of the printable UTF-8 character at p, 0 when there is none: no control characters (C0,
 * DEL, C1), no surrogates, no overlong forms, nothing above U+10FFFF. */
static inline size_t ms_utf8_step(const unsigned char *p, size_t n)
{
    if (n == 0)
        return 0;
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe0 && p[1] < 0xa0) ||
        (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

static inline bool ms_text_ok(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    while (len > 0) {
        size_t step = ms_utf8_step(p, len);
        if (step == 0)
            return false;
        p += step;
        len -= step;
    }
    return true;
}

/* The rule for paths of artefacts and files; here, so that both sides have the same one. */
static inline bool ms_proto_path_ok(const char *path, size_t len)
{
    if (len == 0 || len > MS_PATH_MAX || !ms_text_ok(path, len) || memchr(path, '\\', len) != NULL)
        return false;
    size_t parts = 0;
    for (size_t at = 0; at <= len;) {
        const char *slash = at < len ? memchr(path + at, '/', len - at) : NULL;
        size_t part = slash != NULL ? (size_t)(slash - path) - at : len - at;
        if (part == 0 || part > MS_PATH_PART_MAX || ++parts > MS_PATH_DEPTH)
            return false;
        if (path[at] == '.' && (part == 1 || (part == 2 && path[at + 1] == '.')))
            return false;
        at += part + 1;
    }
    return true;
}

#endif
