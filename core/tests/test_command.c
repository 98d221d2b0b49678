/* Programs of this machine: outputs, bounds, the end of the whole group, and nothing leaked. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"
#include "mem.h"
#include "tap.h"

typedef struct seen {
    moonsand_command *command;
    bool done;
    int calls, exit_code, sig;
    char out[4096], errs[4096];
    size_t out_len;
    uint64_t out_bytes, pieces;
    bool truncated;
    char code[32], message[512];
    bool free_in_output, free_in_done, hold;
} seen;

static moonsand_loop *loop;

static void on_output(void *arg, int stream, const char *p, size_t n)
{
    seen *s = arg;
    (void)stream;
    (void)p;
    s->pieces += n;
    if (s->hold)
        moonsand_command_hold(s->command, true);
    if (s->free_in_output) {
        moonsand_command_free(s->command);
        s->command = NULL;
        s->done = true;
    }
}

static void on_done(void *arg, const moonsand_command_result *r, moonsand_error *err)
{
    seen *s = arg;
    s->done = true;
    s->calls++;
    if (err != NULL) {
        snprintf(s->code, sizeof s->code, "%s", moonsand_code_name(moonsand_error_code(err)));
        snprintf(s->message, sizeof s->message, "%s", moonsand_error_message(err));
        moonsand_error_free(err);
    } else {
        s->exit_code = r->exit_code;
        s->sig = r->signal;
        s->out_len = r->out.len;
        s->out_bytes = r->out.bytes;
        s->truncated = r->out.truncated;
        if (r->out.data != NULL)
            snprintf(s->out, sizeof s->out, "%.*s", (int)(r->out.len < 4000 ? r->out.len : 4000),
                     r->out.data);
        if (r->err.data != NULL)
            snprintf(s->errs, sizeof s->errs, "%.*s", (int)(r->err.len < 4000 ? r->err.len : 4000),
                     r->err.data);
    }
    if (s->free_in_done) {
        moonsand_command_free(s->command);
        s->command = NULL;
    }
}

static bool drive(const bool *flag, int64_t ns)
{
    int64_t end = ms_now_ns() + ns;
    while (!*flag && ms_now_ns() < end) {
        moonsand_loop_wait(loop, end - ms_now_ns(), NULL);
        moonsand_loop_step(loop, NULL);
    }
    return *flag;
}

static bool start(seen *s, moonsand_command_options o, const char *script)
{
    const char *argv[] = {"sh", "-c", script};
    moonsand_error *err = NULL;
    if (o.argv == NULL) {
        o.argv = argv;
        o.argc = 3;
    }
    o.version = 1;
    o.on_output = on_output;
    o.on_done = on_done;
    o.arg = s;
    if (moonsand_command_start(&s->command, loop, &o, &err) == 0)
        return true;
    snprintf(s->code, sizeof s->code, "%s", moonsand_code_name(moonsand_error_code(err)));
    snprintf(s->message, sizeof s->message, "%s", moonsand_error_message(err));
    moonsand_error_free(err);
    return false;
}

#define START(s, script, ...)                                                                      \
    (memset((s), 0, sizeof *(s)),                                                                  \
     start((s), (moonsand_command_options){.version = 1, __VA_ARGS__}, script))
#define RUN(s, script, ...) (START(s, script, __VA_ARGS__) && drive(&(s)->done, 20 * MS_S))

static void stop(seen *s)
{
    moonsand_command_free(s->command);
    s->command = NULL;
}

static void plain(void)
{
    seen s;
    ok(RUN(&s, "printf hello; printf oops >&2; exit 3", 0), "a program runs");
    is_int(s.exit_code, 3, "its exit code");
    is_int(s.sig, 0, "no signal");
    is_str(s.out, "hello", "its stdout");
    is_str(s.errs, "oops", "its stderr");
    is_int(s.calls, 1, "told once");
    stop(&s);
    ok(RUN(&s, "kill -9 $$", 0), "a program that dies");
    is_int(s.sig, SIGKILL, "its signal");
    is_int(s.exit_code, -1, "no exit code");
    stop(&s);
    const char *env[] = {"MS_ONE=1", "HOME=/nowhere"};
    ok(RUN(&s, "echo $MS_ONE $HOME; pwd; env | grep -c ^HOME=", .env = env, .envc = 2, .cwd = "/"),
       "with an environment");
    is_str(s.out, "1 /nowhere\n/\n1\n", "it has the variables, once, and the directory");
    stop(&s);
    memset(&s, 0, sizeof s);
    s.free_in_done = true;
    ok(start(&s, (moonsand_command_options){.version = 1}, "exit 0") && drive(&s.done, 5 * MS_S) &&
           s.command == NULL,
       "it may be freed in on_done");
}

static void input(void)
{
    seen s;
    size_t len = 8 << 20;
    char *big = malloc(len);
    memset(big, 'x', len);
    /* cat says as much as it reads: nobody may wait for the other */
    ok(RUN(&s, "cat; cat >&2 </dev/zero & sleep 0.1; kill $!", .stdin_data = big, .stdin_len = len,
           .max_output = 1000),
       "8 MiB in and out");
    is_int(s.out_bytes, len, "all of it came back");
    is_int(s.out_len, 1000, "as much as was wanted is kept");
    ok(s.truncated, "and the cut is told");
    stop(&s);
    ok(RUN(&s, "wc -c", 0), "without stdin");
    is_str(s.out, "0\n", "it is at its end at once");
    stop(&s);
    ok(RUN(&s, "head -c 3", .stdin_data = big, .stdin_len = len), "a reader that stops early");
    is_str(s.out, "xxx", "ends well");
    stop(&s);
    ok(RUN(&s, "wc -c", .stdin_data = "", .stdin_len = 0), "empty stdin");
    is_str(s.out, "0\n", "is empty");
    stop(&s);
    free(big);
}

static void failures(void)
{
    seen s;
    const char *none[] = {"moonsand-no-such-program"}, *dir[] = {"/"}, *path[] = {"/no/such"};
    ok(!START(&s, "", .argv = none, .argc = 1), "a program that does not exist");
    is_str(s.code, "not_found", "is not found");
    ok(strstr(s.message, "not in PATH") != NULL, "the message says where: %s", s.message);
    ok(!START(&s, "", .argv = path, .argc = 1), "a path that does not exist");
    is_str(s.code, "not_found", "is not found");
    ok(!START(&s, "", .argv = dir, .argc = 1), "a directory");
    is_str(s.code, "io", "cannot be executed");
    ok(strstr(s.message, strerror(EACCES)) != NULL, "with the errno of exec: %s", s.message);
    ok(!START(&s, "exit 0", .cwd = "/no/such/dir"), "a working directory that does not exist");
    ok(strstr(s.message, "/no/such/dir") != NULL, "is named: %s", s.message);
    const char *env[] = {"=x"};
    ok(!START(&s, "exit 0", .env = env, .envc = 1), "a variable without a name");
    is_str(s.code, "invalid", "is the caller's mistake");
}

static bool gone(pid_t pid)
{
    for (int i = 0; i < 300; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return true;
        moonsand_loop_wait(loop, 10 * MS_MS, NULL);
        moonsand_loop_step(loop, NULL);
    }
    return false;
}

/* The pid that a script wrote into the file. */
static pid_t pid_in(const char *path)
{
    for (int i = 0; i < 500; i++) {
        FILE *f = fopen(path, "re");
        int pid = 0, n = f != NULL ? fscanf(f, "%d\n", &pid) : 0;
        if (f != NULL)
            fclose(f);
        if (n == 1)
            return pid;
        usleep(10000);
    }
    return 0;
}

static void ends(const char *dir)
{
    char file[256], script[1024];
    snprintf(file, sizeof file, "%s/pid", dir);
    seen s;
    /* The child ignores SIGTERM, and the shell waits for it. */
    snprintf(script, sizeof script,
             "trap '' TERM; (sh -c 'echo $$ >%s.new; mv %s.new %s; exec sleep 1000' & wait); "
             "sleep 1000",
             file, file, file);
    ok(START(&s, script, 0), "a program that ignores SIGTERM");
    pid_t child = pid_in(file);
    int64_t before = ms_now_ns();
    moonsand_command_cancel(s.command);
    moonsand_command_cancel(s.command);
    ok(drive(&s.done, 10 * MS_S), "is ended");
    int64_t took = ms_now_ns() - before;
    ok(took >= 1900 * MS_MS && took < 4 * MS_S, "2 s later, by SIGKILL (%.1f s)",
       (double)took / (double)MS_S);
    is_str(s.code, "cancelled", "and says so");
    ok(gone(child), "with its child");
    stop(&s);

    ok(RUN(&s, "sleep 1000", .timeout_ns = 200 * MS_MS), "a time limit");
    is_str(s.code, "timeout", "ends it");
    ok(strstr(s.message, "0.2 s") != NULL, "and says after what time: %s", s.message);
    stop(&s);

    unlink(file);
    snprintf(script, sizeof script, "echo $$ >%s.new; mv %s.new %s; exec sleep 1000", file, file,
             file);
    ok(START(&s, script, 0), "a program that is freed");
    child = pid_in(file);
    stop(&s);
    ok(gone(child), "is ended and reaped");
    is_int(s.calls, 0, "without on_done");

    /* A daemon keeps stdout open: nobody waits for it for ever. */
    before = ms_now_ns();
    ok(RUN(&s, "echo there; sleep 30 & exit 0", 0), "a program that leaves one behind");
    ok(ms_now_ns() - before < 5 * MS_S, "ends all the same");
    is_str(s.out, "there\n", "with its output");
    stop(&s);

    memset(&s, 0, sizeof s);
    s.free_in_output = true;
    ok(start(&s, (moonsand_command_options){.version = 1, .stream_stdout = true}, "yes") &&
           drive(&s.done, 5 * MS_S),
       "it may be freed in on_output");
    is_int(s.calls, 0, "and is silent then");
}

static void held(void)
{
    seen s;
    memset(&s, 0, sizeof s);
    s.hold = true;
    bool never = false;
    ok(start(&s, (moonsand_command_options){.version = 1, .stream_stdout = true},
             "head -c 1000000 /dev/zero"),
       "a stream that is held");
    drive(&never, 300 * MS_MS);
    ok(!s.done && s.pieces > 0 && s.pieces < 100000, "waits (%d bytes came)", (int)s.pieces);
    for (int i = 0; i < 1000 && !s.done; i++) {
        moonsand_command_hold(s.command, false);
        drive(&s.done, 20 * MS_MS);
    }
    is_int(s.pieces, 1000000, "and then comes whole");
    ok(s.done, "to its end");
    is_int(s.out_bytes, 1000000, "counted");
    stop(&s);
}

static void clean_inside(void)
{
    seen s;
    int leak = open("/dev/null", O_RDONLY); /* lint: the point is that it is not close-on-exec */
    sigset_t block, old;
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &block, &old);
    signal(SIGPIPE, SIG_IGN);
    ok(RUN(&s,
           "ls /proc/self/fd | tr '\\n' ' '; grep -E 'Sig(Blk|Ign)' /proc/self/status; "
           "[ \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$ ] && echo leader",
           0),
       "what a program inherits");
    /* 3 is ls's own, of the directory that it lists */
    ok(strncmp(s.out, "0 1 2 3 ", 8) == 0 && strstr(s.out, "4 ") != s.out + 8,
       "descriptors 0 to 2 only");
    const char *ignored = strstr(s.out, "SigIgn:\t");
    /* 32 and 33 are the C library's own; its posix_spawn(3) ignores them for the program */
    ok(strstr(s.out, "SigBlk:\t0000000000000000") != NULL && ignored != NULL &&
           (strtoull(ignored + 8, NULL, 16) & ~(3ull << 31)) == 0,
       "no signal blocked or ignored");
    ok(strstr(s.out, "leader") != NULL, "a process group of its own");
    signal(SIGPIPE, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(leak);
    stop(&s);
}

static void reaped_by_host(void)
{
    seen s;
    signal(SIGCHLD, SIG_IGN);
    ok(RUN(&s, "exit 0", 0), "a host that ignores SIGCHLD");
    is_str(s.code, "io", "how the program ended is unknown");
    stop(&s);
    signal(SIGCHLD, SIG_DFL);
}

/* A kernel before 5.3 has no pidfd_open(2). */
static int without_pidfd(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    seen s;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &filter))
        return 2;
    if (!RUN(&s, "echo fine; exit 7", 0) || s.exit_code != 7 || strcmp(s.out, "fine\n") != 0)
        return 1;
    stop(&s);
    if (!RUN(&s, "sleep 1000", .timeout_ns = 100 * MS_MS) || strcmp(s.code, "timeout") != 0)
        return 1;
    stop(&s);
    return 0;
}

static void old_kernel(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        moonsand_loop_new(&loop, NULL);
        _exit(without_pidfd());
    }
    int status = -1;
    waitpid(pid, &status, 0);
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "without pidfd_open(2)");
}

static void loop_goes(const char *dir)
{
    char file[256], script[1024];
    snprintf(file, sizeof file, "%s/last", dir);
    snprintf(script, sizeof script,
             "trap 'sleep 0.2; echo cleaned >%s; exit 0' TERM; echo ready; while :; do sleep 0.05; "
             "done",
             file);
    seen s;
    ok(START(&s, script, .stream_stdout = true), "a program that cleans up at SIGTERM");
    bool never = false;
    while (s.pieces == 0)
        drive(&never, 10 * MS_MS);
    stop(&s);
    int64_t before = ms_now_ns();
    moonsand_loop_free(loop);
    ok(ms_now_ns() - before < 2 * MS_S, "has time for it when the loop goes");
    is_int(access(file, F_OK), 0, "and has used it");
    is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
    moonsand_loop_new(&loop, NULL);
    ok(START(&s, "trap '' TERM; echo x; while :; do sleep 0.05; done", .stream_stdout = true),
       "one that ignores it");
    while (s.pieces == 0)
        drive(&never, 10 * MS_MS);
    stop(&s);
    before = ms_now_ns();
    moonsand_loop_free(loop);
    ok(ms_now_ns() - before < 4 * MS_S, "is killed in a bounded time");
    is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
}

int main(void)
{
    char dir[] = "/tmp/ms-command-XXXXXX";
    if (mkdtemp(dir) == NULL || moonsand_loop_new(&loop, NULL) != 0)
        return 1;
    old_kernel();
    plain();
    input();
    failures();
    ends(dir);
    held();
    clean_inside();
    reaped_by_host();
    loop_goes(dir);
    char clean[300];
    static const char *const names[] = {"pid", "last"};
    for (int i = 0; i < 2; i++) {
        snprintf(clean, sizeof clean, "%s/%s", dir, names[i]);
        unlink(clean);
    }
    rmdir(dir);
    char hex[65];
    is_int(moonsand_sha256(hex, "abc", 3, NULL), 0, "sha256");
    is_str(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
           "of the standard's example");
    return done_testing();
}
