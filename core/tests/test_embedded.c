/* An engine of our own, for real: started, asked, started again, killed, stopped, nothing left. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "loop.h"
#include "moonsand.h"
#include "process.h"
#include "tap.h"

static char dir[200];

static void nap(void)
{
    struct timespec t = {0, 50 * MS_MS};
    nanosleep(&t, NULL);
}

/* "HTTP/1.x 200" from the socket. */
static bool ping(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char answer[64] = "";
    const char ask[] = "GET /_ping HTTP/1.0\r\nHost: d\r\n\r\n";
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {2, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    bool good = connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 &&
                send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) > 0 &&
                recv(fd, answer, sizeof answer - 1, MSG_WAITALL) > 12 &&
                strncmp(answer + 8, " 200", 4) == 0;
    close(fd);
    return good;
}

static bool comes_up(const char *path)
{
    for (int64_t until = ms_now_ns() + 60 * MS_S; ms_now_ns() < until; nap())
        if (ping(path))
            return true;
    return false;
}

static json_t *status(void)
{
    char *text = NULL;
    moonsand_error *err = NULL;
    if (moonsand_embedded_status(&text, dir, &err))
        diag("status: %s", moonsand_error_message(err));
    moonsand_error_free(err);
    json_t *o = json_loads(text ? text : "{}", 0, NULL);
    moonsand_free(text);
    return o;
}

static pid_t running_pid(void)
{
    json_t *o = status();
    pid_t pid = ms_json_bool(o, "running") ? (pid_t)ms_json_int(o, "pid", 0) : 0;
    json_decref(o);
    return pid;
}

/* How many processes name our directory (or hold it in their arguments), this one apart. */
static int left_over(const char *word)
{
    int n = 0;
    DIR *d = opendir("/proc");
    for (const struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char path[300], text[8192];
        snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
        int fd = atol(e->d_name) == getpid() ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd >= 0 ? read(fd, text, sizeof text) : 0;
        if (fd >= 0)
            close(fd);
        if (got > 0 && memmem(text, (size_t)got, word, strlen(word))) {
            diag("left: %s %.100s", e->d_name, text);
            n++;
        }
    }
    if (d)
        closedir(d);
    return n;
}

static bool mounted(const char *word)
{
    char line[4096];
    bool hit = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f && fgets(line, sizeof line, f))
        hit |= strstr(line, word) != NULL;
    if (f)
        fclose(f);
    return hit;
}

static bool start(char **path, const char *kind)
{
    moonsand_error *err = NULL;
    moonsand_free(*path);
    bool good = moonsand_embedded_start(path, dir, kind, &err) == 0;
    if (!good)
        diag("%s", moonsand_error_message(err));
    moonsand_error_free(err);
    return good;
}

static void refused(const char *where, const char *kind, moonsand_code code)
{
    moonsand_error *err = NULL;
    char *path = NULL;
    is_int(moonsand_embedded_start(&path, where, kind, &err), -1, "refused: %s %s", where, kind);
    is_str(moonsand_code_name(moonsand_error_code(err)), moonsand_code_name(code), "  %s",
           moonsand_error_message(err));
    ok(path == NULL, "  no socket");
    moonsand_error_free(err);
}

static bool installed(const char *program)
{
    static const char *const dirs[] = {"/usr/bin", "/usr/sbin", "/usr/local/bin",
                                       "/usr/local/sbin"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        char path[100];
        snprintf(path, sizeof path, "%s/%s", dirs[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *where)
{
    (void)st;
    (void)what;
    (void)where;
    remove(path);
    return 0;
}

static void test_stop(const char *path)
{
    moonsand_error *err = NULL;
    int64_t began = ms_now_ns();
    ok(moonsand_embedded_stop(dir, &err) == 0, "stop");
    if (err)
        diag("%s", moonsand_error_message(err));
    moonsand_error_free(err);
    ok(ms_now_ns() - began < 15 * MS_S, "  in time");
    is_int(running_pid(), 0, "  nothing runs");
    is_int(left_over(dir), 0, "  no process is left");
    ok(!mounted(dir), "  no mount is left");
    ok(access(path, F_OK) != 0, "  no socket is left");
    is_int(moonsand_embedded_stop(dir, NULL), 0, "stop again");
}

/* Two that start at the same moment get one engine. */
static void test_race(const char *kind)
{
    pid_t first = fork();
    if (first == 0) {
        char *path = NULL;
        int rc = moonsand_embedded_start(&path, dir, kind, NULL);
        moonsand_free(path);
        _exit(rc == 0 ? 0 : 1);
    }
    char *path = NULL;
    int code = -1;
    ok(start(&path, kind), "start, beside another starter");
    waitpid(first, &code, 0);
    is_int(code, 0, "the other one had success, too");
    ok(comes_up(path), "it answers");
    moonsand_free(path);
}

static void test_descriptors(const char *kind)
{
    int fds[2];
    char c, *path = NULL;
    /* Not close-on-exec, as a careless host's are. */
    if (pipe(fds))
        return;
    sigset_t usr, old;
    sigemptyset(&usr);
    sigaddset(&usr, SIGUSR2);
    sigprocmask(SIG_BLOCK, &usr, &old);
    ok(start(&path, kind), "%s starts", kind);
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(fds[1]);
    is_int(read(fds[0], &c, 1), 0, "it holds none of our descriptors");
    close(fds[0]);
    is_int(waitpid(-1, NULL, WNOHANG), -1, "it is not our child");
    ok(comes_up(path), "it answers at %s", path);
    moonsand_free(path);
}

static void test_kind(const char *kind, const char *other)
{
    char *path = NULL;
    test_descriptors(kind);
    pid_t pid = running_pid();
    ok(pid > 1, "status says pid %d", (int)pid);
    ok(getsid(pid) != getsid(0) && getsid(pid) != pid, "in a session that it does not lead");
    json_t *o = status();
    is_str(ms_json_str(o, "kind", ""), kind, "status: kind");
    ok(access(ms_json_str(o, "log", ""), R_OK) == 0, "status: the log is there");
    ok(start(&path, NULL), "starting it again is no error");
    is_str(path, ms_json_str(o, "socket", ""), "  the same socket");
    json_decref(o);
    is_int(running_pid(), pid, "  the same process");
    refused(dir, other, MOONSAND_E_CONFLICT);
    is_int(running_pid(), pid, "  and it lives on");
    struct stat st;
    ok(stat(path, &st) == 0, "the socket can be looked at");
    char *slash = strrchr(path, '/');
    *slash = 0;
    ok(stat(path, &st) == 0 && (st.st_mode & 077) == 0, "its directory is closed to others");
    *slash = '/';
    kill(pid, SIGKILL);
    while (ms_process_start(pid))
        nap();
    is_int(running_pid(), 0, "killed: status says so");
    test_race(kind);
    ok(running_pid() > 1 && running_pid() != pid, "a new one");
    test_stop(path);
    moonsand_free(path);
}

static void test_misuse(void)
{
    char open_dir[250], file[250];
    pid_t pid = 0;
    moonsand_error *err = NULL;
    snprintf(open_dir, sizeof open_dir, "%s/open", dir);
    snprintf(file, sizeof file, "%s/log", dir);
    mkdir(open_dir, 0777);
    chmod(open_dir, 0777);
    refused(dir, "containerd", MOONSAND_E_INVALID);
    refused(open_dir, NULL, MOONSAND_E_INVALID);
    refused("/", NULL, MOONSAND_E_INVALID);
    refused("/tmp/a:b", NULL, MOONSAND_E_INVALID);
    refused("/tmp/a\nb", NULL, MOONSAND_E_INVALID);
    refused("/proc/self/status", NULL, MOONSAND_E_INVALID);
    char *const argv[] = {(char[]){"/nonexistent/dockerd"}, NULL};
    char *const envp[] = {NULL};
    is_int(ms_process_daemon(&pid, argv, envp, file, &err), -1, "a failed exec is an error");
    is_int(moonsand_error_code(err), MOONSAND_E_NOT_FOUND, "  %s", moonsand_error_message(err));
    moonsand_error_free(err);
    err = NULL;
    char *const none[] = {file, NULL};
    is_int(ms_process_daemon(&pid, none, envp, file, &err), -1, "so is what is no program");
    is_int(moonsand_error_code(err), MOONSAND_E_IO, "  %s", moonsand_error_message(err));
    moonsand_error_free(err);
    is_int(moonsand_embedded_stop("/nonexistent/dir", NULL), 0, "stop where nothing is");
    char *text = NULL;
    is_int(moonsand_embedded_status(&text, "/nonexistent/dir", NULL), 0, "status where nothing is");
    ok(text && strstr(text, "\"running\":false"), "  not running");
    moonsand_free(text);
}

/* A state file that names somebody else's process must not get it killed. */
static void test_forged_state(void)
{
    char file[250];
    snprintf(file, sizeof file, "%s/engine.json", dir);
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"pid\":1,\"start\":0}",
                                      "{\"pid\":\"x\",\"start\":1}",
                                      "{\"pid\":99999999999,\"start\":5}",
                                      "{\"pid\":-1,\"start\":1,\"run\":\"/home\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FILE *f = fopen(file, "we");
        fputs(bad[i], f);
        fclose(f);
        is_int(running_pid(), 0, "state file %s", bad[i]);
    }
    FILE *f = fopen(file, "we");
    fprintf(f, "{\"pid\":%d,\"start\":1,\"boot_id\":\"x\",\"run\":\"%s/open\"}", (int)getpid(),
            dir);
    fclose(f);
    is_int(moonsand_embedded_stop(dir, NULL), 0, "stop with a forged one: we live");
    char open_dir[250];
    snprintf(open_dir, sizeof open_dir, "%s/open", dir);
    is_int(access(open_dir, F_OK), 0, "and its run directory was not believed");
}

static void test_long_directory(void)
{
    char *path = NULL;
    size_t n = strlen(dir);
    memset(dir + n, 'x', 90);
    dir[n] = '/';
    dir[n + 90] = 0;
    if (ok(start(&path, NULL), "start in a long directory")) {
        ok(strlen(path) <= 107, "its socket has a short path: %s", path);
        ok(comes_up(path), "and answers");
        test_stop(path);
    }
    dir[n] = 0;
    moonsand_free(path);
}

/* `dockerd --bridge=none` deletes docker0, which may be the system's. */
static void test_others_bridge(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ours = !if_nametoindex("docker0");
    if (fd < 0 || (ours && ioctl(fd, SIOCBRADDBR, "docker0") != 0)) {
        skip("no bridge can be made here");
    } else {
        unsigned before = if_nametoindex("docker0");
        char *path = NULL;
        ok(start(&path, "docker") && comes_up(path), "starts beside another Docker's bridge");
        is_int(if_nametoindex("docker0"), before, "  which is left alone");
        test_stop(path);
        is_int(if_nametoindex("docker0"), before, "  also by the end");
        moonsand_free(path);
        if (ours)
            ioctl(fd, SIOCBRDELBR, "docker0");
    }
    if (fd >= 0)
        close(fd);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/ms-embedded.XXXXXX");
    if (!mkdtemp(dir))
        return 2;
    alarm(300);
    test_misuse();
    test_forged_state();
    if (!installed("dockerd"))
        skip("dockerd is not installed");
    else if (geteuid() != 0)
        skip("dockerd needs root");
    else {
        test_kind("docker", "podman");
        test_others_bridge();
    }
    if (installed("podman"))
        test_kind("podman", "docker");
    else
        skip("podman is not installed");
    if (geteuid() == 0 && installed("dockerd"))
        test_long_directory();
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return done_testing();
}
