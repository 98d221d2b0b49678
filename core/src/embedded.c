#include "embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "json.h"
#include "loop.h"
#include "process.h"

#define STATE_MAX 65536
#define STOP_NS (10 * MS_S)
#define LOCK_NS (20 * MS_S) /* a stop that is under way takes its 10 s and some more */

typedef struct running {
    pid_t pid;
    uint64_t start;
    char kind[16];
    ms_embedded_net net;
} running;

/* ---- directories ---- */

/* Makes the directory and its parents, and refuses one that others can write to: whoever can change
 * the state file could name any process to be killed. */
static int make_dir(const char *path, moonsand_error **err)
{
    struct stat st;
    char *copy = ms_strdup(path);
    if (!copy)
        return ms_fail_nomem(err);
    for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        mkdir(copy, 0755);
        *p = '/';
    }
    ms_free(copy);
    if (mkdir(path, 0700) && errno != EEXIST)
        return ms_fail_errno(err, errno, "%s", path);
    if (stat(path, &st))
        return ms_fail_errno(err, errno, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return ms_fail(err, MOONSAND_E_INVALID, "%s is not a directory", path);
    if (st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "%s belongs to another user or can be written to by others", path);
    return 0;
}

static int make_private(const char *dir, const char *name, moonsand_error **err)
{
    char *path = name ? ms_asprintf("%s/%s", dir, name) : ms_strdup(dir);
    if (!path)
        return ms_fail_nomem(err);
    struct stat st;
    int rc = make_dir(path, err);
    if (rc == 0 && (lstat(path, &st) || !S_ISDIR(st.st_mode)))
        rc = ms_fail(err, MOONSAND_E_INVALID, "%s is a link", path);
    if (rc == 0 && chmod(path, 0700))
        rc = ms_fail_errno(err, errno, "%s", path);
    ms_free(path);
    return rc;
}

/* ---- state ---- */

static bool trusted(const char *dir)
{
    struct stat st;
    return stat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 022) == 0;
}

/* Where the run directory was when the engine started: XDG_RUNTIME_DIR may differ since. It will be
 * removed with all that is in it, so nothing counts that cannot be one of ours. */
static int take_run(ms_embedded *e, const char *run, moonsand_error **err)
{
    size_t n = strlen(run), tag = strlen(e->tag);
    const char name[] = "/moonsand/";
    if (run[0] != '/' || n + strlen(MS_LONGEST_BELOW_RUN) > MS_SOCKET_MAX ||
        ms_embedded_check_name(run, NULL) || strstr(run, "/../") || n < tag + sizeof name ||
        strcmp(run + n - tag, e->tag) != 0 ||
        memcmp(run + n - tag - (sizeof name - 1), name, sizeof name - 1) != 0)
        return 0;
    char *copy = ms_strdup(run), *socket = ms_asprintf("%s/engine.sock", run);
    if (!copy || !socket) {
        ms_free(copy);
        ms_free(socket);
        return ms_fail_nomem(err);
    }
    ms_free(e->run);
    ms_free(e->socket);
    e->run = copy;
    e->socket = socket;
    return 0;
}

static void boot_id(char *out, size_t size)
{
    if (ms_file_peek(out, size, "/proc/sys/kernel/random/boot_id") < 0)
        out[0] = 0;
    out[strcspn(out, "\n")] = 0;
}

/* pid is 0 when nothing runs. A state file that makes no sense counts as none: a start then cleans
 * up what it finds. */
static int load_state(running *r, ms_embedded *e, moonsand_error **err)
{
    memset(r, 0, sizeof *r);
    ms_buf b = {0};
    moonsand_error *why = NULL;
    if (!trusted(e->dir) || ms_file_read(&b, e->state, STATE_MAX, &why)) {
        /* To take a shortage (of memory, of descriptors) for "nothing runs" would end an engine. */
        moonsand_code code = moonsand_error_code(why);
        int rc = 0;
        if (code == MOONSAND_E_NOMEM || code == MOONSAND_E_IO)
            rc = ms_fail(err, code, "%s", moonsand_error_message(why));
        moonsand_error_free(why);
        ms_buf_free(&b);
        return rc;
    }
    json_error_t bad;
    json_t *root = json_loadb(b.data ? b.data : "", b.len, 0, &bad);
    ms_buf_free(&b);
    if (!root && json_error_code(&bad) == json_error_out_of_memory)
        return ms_fail_nomem(err);
    char boot[64];
    boot_id(boot, sizeof boot);
    int64_t pid = ms_json_int(root, "pid", 0), start = ms_json_int(root, "start", 0);
    int rc = root ? take_run(e, ms_json_str(root, "run", ""), err) : 0;
    bool same_boot = strcmp(ms_json_str(root, "boot_id", ""), boot) == 0;
    if (rc == 0 && same_boot && pid > 1 && pid <= INT_MAX && start > 0 &&
        ms_process_start((pid_t)pid) == (uint64_t)start) {
        r->pid = (pid_t)pid;
        r->start = (uint64_t)start;
        snprintf(r->kind, sizeof r->kind, "%s", ms_json_str(root, "kind", ""));
        const json_t *net = json_object_get(root, "network");
        snprintf(r->net.bridge, sizeof r->net.bridge, "%s", ms_json_str(net, "bridge", ""));
        snprintf(r->net.subnet, sizeof r->net.subnet, "%s", ms_json_str(net, "subnet", ""));
        snprintf(r->net.missing, sizeof r->net.missing, "%s", ms_json_str(net, "missing", ""));
        r->net.apart = ms_json_bool(net, "apart");
    }
    json_decref(root);
    return rc;
}

static json_t *net_json(const ms_embedded_net *net)
{
    return json_pack("{s:s*,s:s*,s:s*,s:b}", "bridge", net->bridge[0] ? net->bridge : NULL,
                     "subnet", net->subnet[0] ? net->subnet : NULL, "missing",
                     net->missing[0] ? net->missing : NULL, "apart", net->apart);
}

static int save_state(const ms_embedded *e, const running *r, moonsand_error **err)
{
    char boot[64];
    boot_id(boot, sizeof boot);
    ms_buf b = {0};
    json_t *root = json_pack("{s:I,s:I,s:s,s:s,s:s,s:s,s:o}", "pid", (json_int_t)r->pid, "start",
                             (json_int_t)r->start, "boot_id", boot, "kind", r->kind, "run", e->run,
                             "socket", e->socket, "network", net_json(&r->net));
    int rc = root ? ms_json_write(&b, root, false, err)
                  : ms_fail(err, MOONSAND_E_INVALID, "%s is not UTF-8", e->run);
    if (rc == 0)
        rc = ms_file_write(e->state, b.data, b.len, err);
    ms_buf_free(&b);
    json_decref(root);
    return rc;
}

/* ---- the lock ---- */

/* One starter or stopper at a time; the kernel lets go of it when we die. */
static int lock(int *fd, const ms_embedded *e, moonsand_error **err)
{
    char *path = ms_asprintf("%s/lock", e->dir);
    if (!path)
        return ms_fail_nomem(err);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int why = *fd < 0 ? errno : 0;
    int64_t until = ms_now_ns() + LOCK_NS;
    while (!why && flock(*fd, LOCK_EX | LOCK_NB)) {
        struct timespec t = {0, 20 * MS_MS};
        if (errno != EWOULDBLOCK && errno != EINTR)
            why = errno;
        else if (ms_now_ns() > until)
            why = ETIMEDOUT;
        else
            nanosleep(&t, NULL);
    }
    int rc = 0;
    if (why == ETIMEDOUT)
        rc = ms_fail(err, MOONSAND_E_TIMEOUT, "another process holds %s", path);
    else if (why)
        rc = ms_fail_errno(err, why, "%s", path);
    if (rc && *fd >= 0)
        close(*fd);
    ms_free(path);
    return rc;
}

/* ---- start, stop, status ---- */

/* What an engine leaves that was killed: its processes, mounts and sockets. Images stay. */
static int clean(const ms_embedded *e, moonsand_error **err)
{
    char *data = ms_asprintf("%s/data", e->dir), *tag = ms_asprintf("moonsand-%s", e->tag);
    const char *const words[] = {data, e->run, tag, NULL};
    int rc = data && tag ? ms_process_kill_leftovers(words, err) : ms_fail_nomem(err);
    if (rc == 0) {
        if (geteuid() == 0) {
            ms_unmount_below(data);
            ms_unmount_below(e->run);
            ms_embedded_net_down(e);
        }
        ms_remove_tree(e->run);
        unlink(e->state);
    }
    ms_free(data);
    ms_free(tag);
    return rc;
}

static int make_dirs(const ms_embedded *e, moonsand_error **err)
{
    if (make_private(e->run, NULL, err) || make_private(e->dir, "data", err))
        return -1;
    return make_private(e->run, "podman", err);
}

/* Who names no kind wants the images back that are already there. */
static int last_kind(const char **kind, const ms_embedded *e, moonsand_error **err)
{
    char *docker = ms_asprintf("%s/data/docker", e->dir);
    char *podman = ms_asprintf("%s/data/podman", e->dir);
    int rc = docker && podman ? 0 : ms_fail_nomem(err);
    if (rc == 0 && access(docker, F_OK) != 0 && access(podman, F_OK) == 0)
        *kind = "podman";
    ms_free(docker);
    ms_free(podman);
    return rc;
}

static int start_locked(ms_embedded *e, const char *kind, moonsand_error **err)
{
    running r;
    const char *chosen;
    if (load_state(&r, e, err))
        return -1;
    if (r.pid && (!kind || strcmp(kind, r.kind) == 0))
        return 0;
    if (r.pid)
        return ms_fail(err, MOONSAND_E_CONFLICT,
                       "%s already runs in %s; stop it before starting %s", r.kind, e->dir, kind);
    if (!kind && last_kind(&kind, e, err))
        return -1;
    if (ms_embedded_choose(&chosen, kind, err) || clean(e, err) || make_dirs(e, err))
        return -1;
    char *old = ms_asprintf("%s.old", e->log);
    if (!old)
        return ms_fail_nomem(err);
    rename(e->log, old);
    ms_free(old);
    if (ms_embedded_launch(&r.pid, &r.net, e, chosen, err))
        return -1;
    snprintf(r.kind, sizeof r.kind, "%s", chosen);
    r.start = ms_process_start(r.pid);
    if (r.start == 0)
        return ms_fail(err, MOONSAND_E_NO_ENGINE, "%s ended at once; see %s", chosen, e->log);
    if (save_state(e, &r, err)) {
        /* Without the file nobody would ever find it again. */
        ms_process_end(r.pid, r.start, STOP_NS);
        clean(e, NULL);
        return -1;
    }
    return 0;
}

int moonsand_embedded_start(char **socket, const char *dir, const char *kind, moonsand_error **err)
{
    ms_embedded e;
    int fd = -1;
    *socket = NULL;
    if (ms_embedded_paths(&e, dir, NULL, err))
        return ms_error_op(err, "engine start");
    /* The second look is for a directory that was not there before, below a link that was. */
    int rc = make_dir(e.dir, err);
    char *made = rc ? NULL : ms_strdup(e.dir);
    if (rc == 0 && !made)
        rc = ms_fail_nomem(err);
    ms_embedded_free(&e);
    if (rc == 0)
        rc = ms_embedded_paths(&e, made, NULL, err);
    ms_free(made);
    if (rc)
        return ms_error_op(err, "engine start");
    rc = lock(&fd, &e, err);
    if (rc == 0) {
        rc = start_locked(&e, kind, err);
        close(fd);
    }
    if (rc == 0) {
        *socket = e.socket;
        e.socket = NULL;
    }
    ms_embedded_free(&e);
    return rc ? ms_error_op(err, "engine start") : 0;
}

static int stop_locked(ms_embedded *e, moonsand_error **err)
{
    running r;
    if (load_state(&r, e, err))
        return -1;
    if (r.pid)
        ms_process_end(r.pid, r.start, STOP_NS);
    return clean(e, err);
}

int moonsand_embedded_stop(const char *dir, moonsand_error **err)
{
    ms_embedded e;
    int fd = -1, rc = 0;
    if (ms_embedded_paths(&e, dir, NULL, err))
        return ms_error_op(err, "engine stop");
    if (access(e.dir, F_OK) == 0) {
        if (!trusted(e.dir))
            rc = ms_fail(err, MOONSAND_E_INVALID,
                         "%s belongs to another user or can be written to by others", e.dir);
        else
            rc = lock(&fd, &e, err);
        if (rc == 0) {
            rc = stop_locked(&e, err);
            close(fd);
        }
    }
    ms_embedded_free(&e);
    return rc ? ms_error_op(err, "engine stop") : 0;
}

int moonsand_embedded_status(char **out, const char *dir, moonsand_error **err)
{
    ms_embedded e;
    running r;
    *out = NULL;
    if (ms_embedded_paths(&e, dir, NULL, err))
        return ms_error_op(err, "engine status");
    int rc = load_state(&r, &e, err);
    ms_buf b = {0};
    if (rc == 0) {
        bool on = r.pid != 0;
        json_t *root = json_pack("{s:b,s:o,s:s?,s:s?,s:s,s:s,s:o}", "running", on, "pid",
                                 on ? json_integer(r.pid) : json_null(), "kind", on ? r.kind : NULL,
                                 "socket", on ? e.socket : NULL, "log", e.log, "dir", e.dir,
                                 "network", on ? net_json(&r.net) : json_null());
        rc = root ? ms_json_write(&b, root, false, err)
                  : ms_fail(err, MOONSAND_E_INVALID, "%s is not UTF-8", e.dir);
        json_decref(root);
    }
    if (rc == 0)
        *out = b.data;
    else
        ms_buf_free(&b);
    ms_embedded_free(&e);
    return rc ? ms_error_op(err, "engine status") : 0;
}

int ms_embedded_find(char **socket, ms_getenv_fn env, moonsand_error **err)
{
    ms_embedded e;
    running r;
    moonsand_error *why = NULL;
    *socket = NULL;
    if (ms_embedded_paths(&e, NULL, env, &why)) {
        /* No place for one means that there is none. */
        bool nomem = moonsand_error_code(why) == MOONSAND_E_NOMEM;
        moonsand_error_free(why);
        return nomem ? ms_fail_nomem(err) : 0;
    }
    int rc = load_state(&r, &e, err);
    if (rc == 0 && r.pid) {
        *socket = e.socket;
        e.socket = NULL;
    }
    ms_embedded_free(&e);
    return rc;
}
