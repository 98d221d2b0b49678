/* What the agent's files share. There is one struct agent, in main(); nothing else is mutable. */
#ifndef MS_INSIDE_H
#define MS_INSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto.h"

#define COPY_SIZE 65536
#define PIPE_SIZE (1 << 20) /* asked for; an unprivileged user gets no more */
#define OUT_SIZE (1u << 18) /* payload of a frame, but of those that frame_raw() makes */

enum phase {
    PH_REQUEST, /* nothing yet but HELLO; with a server, a run may come */
    PH_SERVER,  /* the fork server was started and is not ready yet */
    PH_FILES,   /* the request is known; files may come, then GO */
    PH_RUN,     /* the program was forked */
    PH_END,     /* the program ended; what it left is being killed and reaped */
    PH_REPORT,  /* all are dead; results go out */
    PH_BETWEEN, /* they are out; the server makes the next run's walls */
    PH_DEAF     /* the last goes out, and what still comes in is of no interest */
};

/* Frames to the host. At most one is under way: everything that is to be said is remembered as
 * state and made into a frame when the one before is out, so that memory stays flat however slow
 * the host is. */
struct out {
    unsigned char buf[MS_PROTO_HEAD + OUT_SIZE];
    size_t len;              /* bytes of the frame being built in buf */
    const unsigned char *at; /* not yet written */
    size_t left;
    const unsigned char *next; /* after that; belongs to whoever made the frame */
    size_t next_left;
    bool deep; /* stdout is a pipe of PIPE_SIZE */
    bool rest; /* it was filled just now: see out_wait() */
};

struct in {
    unsigned char buf[COPY_SIZE];
    size_t len;
    int type;             /* of the frame under way; 0: its head is not complete */
    uint32_t left;        /* bytes of it still to come */
    unsigned char *whole; /* payload that is collected, one byte longer than the frame */
    size_t have;
};

struct request {
    char **argv, **env;
    const char *cwd, *output_dir, *value_file;
    uint64_t wall_limit_ns, out_max[2], artefact_count_max, artefact_bytes_max, value_max, fsize,
        flags;
};

struct file_in {
    int fd; /* -1: none under way */
    uint64_t left;
    uint32_t mode;
};

/* The program's standard input: what the host sent and the program has not taken. */
struct feed {
    unsigned char ring[MS_PROTO_STDIN_CREDIT];
    size_t start, len;
    uint64_t owed; /* credit to give back */
    int fd;        /* -1: the program does not listen (any more) */
    bool eof;      /* the host has no more */
};

/* What the program writes to MS_REPORTS_FD, on its way into frames of a line each. */
struct reports {
    unsigned char buf[MS_REPORT_MAX + 1]; /* a line of the longest, and its end */
    size_t start, len;                    /* of what was read and is in no frame yet */
    int fd;                               /* -1: none were asked for, or no more will come */
    bool more;                            /* another whole line may be there */
    bool skip;                            /* the line under way is too long */
    uint64_t sent, bytes, dropped;
};

struct counters {
    uint64_t oom_kills, memory_peak, pids_refused;
};

/* Descriptors of what the container's cgroup counts; -1 what is not there. */
struct cgroup {
    int events, peak, now, stat, pids;
};

/* What is the same before each run, or something was left behind. */
struct snapshot {
    uint64_t mounts, tmp, shm, ipc, keepers; /* hashes */
    uint64_t memory;                         /* bytes */
    size_t descriptors, processes;
};

struct entry { /* struct linux_dirent64, which getdents64 writes */
    uint64_t ino;
    int64_t off;
    uint16_t len;
    uint8_t type;
    char name[];
};

struct server {
    pid_t pid;        /* 0: none, runs are started by the agent itself */
    int fd;           /* control socket */
    int words_fd;     /* its stdout and stderr; -1 at their end */
    int tmp_fd;       /* /tmp of the run to come, or under way */
    int shared_fd[2]; /* the container's own /tmp and /dev/shm */
    uint32_t tier, namespaces, descriptors;
    pid_t init_pid; /* 0: none */
    pid_t program_pid;
    bool landlocked, served;
    bool gone; /* the last run's init has ended, and the snapshot is to be compared */
    bool killed, dead;
    bool lost; /* it died in a run, which is no fault of the program */
    bool python;
    const char *interpreter; /* its word in SERVER */
    char path[MS_PATH_MAX];  /* where SERVER's PATH has it; "" nowhere */
    char **env;              /* it was started with */
    char words[4096];        /* the last that it said */
    size_t words_len;
    uint64_t stop_at_ns; /* when all of a killed run must be dead; 0 not killed */
    const char *odd;     /* RETIRE's reason, when there is one */
    struct snapshot first;
};

struct agent {
    enum phase phase;
    struct out out;
    struct in in;
    struct request request;
    struct file_in file;
    struct feed feed;
    struct reports reports;
    int cwd_fd, output_fd, ruleset_fd; /* -1 none */
    int signal_fd, timer_fd, exec_fd;
    int pipe_fd[2]; /* the program's stdout and stderr; -1 at their end */
    uint64_t seen[2], sent[2];
    int turn; /* whose output goes first, so that none starves */
    int landlock_abi;
    pid_t main_pid;
    int status;          /* of the program, as from wait() */
    bool go, kill_asked; /* what the host wants and the main loop has not done */
    bool probed, say_pong, say_started, started;
    bool ended, killing, alone;
    int killed; /* MS_KILLED_* */
    uint64_t start_ns, wall_ns, stragglers;
    struct cgroup cgroup;
    struct counters before;
    uint64_t cpu_ns, memory_peak; /* as the server says */
    unsigned char *request_bytes; /* what argv and env of the request point into */
    struct server server;
};

/* main.c */
uint64_t now_ns(void);
_Noreturn void die(void); /* the host is gone or talks nonsense: nothing may live on */
void kill_all(struct agent *a, int why);

/* frame.c: building a frame, which needs out_idle() */
bool out_idle(const struct agent *a);
void frame_begin(struct agent *a, int type);
void frame_bytes(struct agent *a, int tag, const void *p, size_t n);
void frame_text(struct agent *a, int tag, const char *text);
void frame_path(struct agent *a, int tag, const char *path); /* hostile bytes become '?' */
void frame_number(struct agent *a, int tag, uint64_t v);
void frame_end(struct agent *a);
void frame_raw(struct agent *a, int type, const void *p, size_t n); /* waits until it is out */
/* Writes what goes without waiting. */
void out_push(struct agent *a);
/* When to call it again: when *fd takes bytes (-1: nothing to write, or not yet), or after so many
 * milliseconds (-1: no limit). */
int out_wait(const struct agent *a, int *fd);
/* Writes all, and sees meanwhile whether the host lives. */
void out_flush(struct agent *a);
_Noreturn void fail(struct agent *a, const char *stage, int err, const char *message,
                    const char *what);

/* input.c */
void in_read(struct agent *a);
_Noreturn void bad_host(struct agent *a, const char *message);

/* fields.c: walks over fields in place. The byte after a value becomes its NUL: it is the next
 * field's tag, which has been read by then, or the spare byte behind the payload. */
struct fields {
    unsigned char *p, *end;
    unsigned char tag; /* of the next field */
};
struct field {
    int tag;
    char *text;
    size_t len;
};
void fields_start(struct fields *f, unsigned char *p, size_t n);
bool fields_next(struct agent *a, struct fields *f, struct field *out);
uint64_t field_number(struct agent *a, const struct field *f);
char *field_text(struct agent *a, const struct field *f);
char *field_path(struct agent *a, const struct field *f); /* absolute */
/* How often each tag is there, into counts[tags]; those of `repeated` may be there more than once.
 */
void fields_count(struct agent *a, const unsigned char *p, size_t n, size_t *counts, int tags,
                  uint64_t repeated);

/* request.c */
void request_take(struct agent *a, unsigned char *p, size_t n);
void file_take(struct agent *a, unsigned char *p, size_t n);
void file_data(struct agent *a, const unsigned char *p, size_t n);

/* paths.c: no link is followed, not even in the middle */
int make_dirs(const struct agent *a, const char *path);
int open_parents(int dir, char *path, bool make, const char **last);
int open_plain(const struct agent *a, const char *path, int flags);

/* program.c */
void program_start(struct agent *a);
void program_exec_result(struct agent *a); /* exec_fd is readable */
void close_from(int lowest);
void close_span(int lowest, int highest);
void default_signals(void);
int limit(int which, uint64_t value);
void exec_program(char *const *argv, char *const *env); /* returns when it failed */
const char *search_path(char *const *env);              /* PATH, or what stands for it */

/* server_start.c */
void server_take(struct agent *a, unsigned char *p, size_t n);

/* server.c */
bool server_event(struct agent *a); /* the control socket is readable; false: it was not */
void server_words(struct agent *a); /* words_fd is readable */
void server_died(struct agent *a);
void server_settle(struct agent *a); /* between runs: says READY or RETIRE when it is time */

/* in_process.c */
void interpreter_find(struct server *s); /* when the server is known, before it is started */
bool runs_in_process(const struct agent *a);

/* job.c: a run of the server; the descriptors stay the caller's */
int job_send(struct agent *a, const int fds[]);
void job_kill(struct agent *a);
void job_go_on(const struct agent *a);

/* snapshot.c */
/* Those of the container but this one, the server and the run's init; how many, at most `room`. */
size_t list_processes(const struct agent *a, pid_t *out, size_t room);
void snapshot_take(const struct agent *a, struct snapshot *s);
const char *snapshot_odd(const struct snapshot *first, const struct snapshot *now);

/* wipe.c */
bool wipe(int dir); /* false: not all is gone */

/* embedded.c: what the fork server is made of */
struct embedded {
    const void *p;
    size_t len;
};
struct embedded embedded_library(void);
const char *embedded_glue(bool python);

/* pump.c */
bool pump_output(struct agent *a, int stream); /* one frame; false: nothing there */
void pump_input(struct agent *a);
void feed_add(struct agent *a, const unsigned char *p, size_t n);
void feed_settle(struct agent *a);

/* reports.c: one frame; false: there is none. At the end, when nobody lives that could write, all
 * of them come out, and a line without its end is one, too. */
bool pump_reports(struct agent *a, bool at_end);
void reports_forget(struct agent *a);

/* landlock.c */
int landlock_abi(void);
int landlock_ruleset(int abi); /* a descriptor, or -1 and errno */
int landlock_enter(int ruleset);

/* filter.c */
int filter_write(int fd); /* an array of struct sock_filter; -1 and errno */

/* cgroup.c */
int cgroup_version(void);
void cgroup_open(struct cgroup *g);
void cgroup_read(const struct cgroup *g, struct counters *c);
/* Bytes in use now that no pressure would free; 0 not known. */
uint64_t cgroup_memory(const struct cgroup *g);
size_t cgroup_describe(char *out, size_t size);
ssize_t read_file(const char *path, char *out, size_t size);

/* probe.c */
void probe_send(struct agent *a);

/* artefact.c */
void value_send(struct agent *a);
void artefacts_send(struct agent *a);

#endif
