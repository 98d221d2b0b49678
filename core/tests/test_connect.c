/* Ways to an engine and what keeps from it: sockets, TCP, TLS, programs. */
#include <fcntl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "dial.h"
#include "fake_http.h"

static const char *program;

static void no_socket(const char *path, const char *word, const char *name)
{
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", path);
    ms_endpoint ep = {.kind = MS_UNIX, .unix_path = copy};
    moonsand_error *err = NULL;
    answer a;
    ms_http_new(&http, loop, &ep, &err);
    CALL(&a, .path = "/");
    is_str(code(&a), "connect", "%s: %s", name, moonsand_error_message(a.err));
    ok(strstr(moonsand_error_message(a.err), path) != NULL &&
           strstr(moonsand_error_message(a.err), word) != NULL,
       "names the path and says why");
    forget(&a);
    ms_conn *conn;
    bool done = false;
    (void)conn;
    (void)done;
    ms_http_free(http);
}

static void connecting(void)
{
    no_socket("/nonexistent/docker.sock", "does not exist", "no socket");
    char path[] = "/tmp/moonsand-sock-XXXXXX";
    close(mkostemp(path, O_CLOEXEC));
    no_socket(path, "refused", "a socket that nobody listens on");
    if (geteuid() == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            chmod(path, 0600);
            if (setgid(65534) != 0 || setuid(65534) != 0)
                _exit(2);
            moonsand_error *err = NULL;
            _exit(ms_dial_probe(path, &err) == -1 &&
                          strstr(moonsand_error_message(err), "permission") != NULL
                      ? 0
                      : 1);
        }
        int status;
        waitpid(pid, &status, 0);
        is_int(status, 0, "a socket without permission");
    } else {
        skip("needs root to become another user");
    }
    unlink(path);
    char longer[300];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    ms_endpoint ep = {.kind = MS_UNIX, .unix_path = longer};
    moonsand_error *err = NULL;
    is_int(ms_http_new(&http, loop, &ep, &err), -1, "a path that no socket can have");
    is_int(moonsand_error_code(err), MOONSAND_E_INVALID, "is invalid");
    moonsand_error_free(err);

    char port[] = "127.0.0.1:1";
    ms_endpoint tcp = {.kind = MS_TCP, .host_port = port};
    setenv("http_proxy", "http://127.0.0.1:2", 1);
    ms_http_new(&http, loop, &tcp, NULL);
    answer a;
    CALL(&a, .path = "/");
    is_str(code(&a), "connect", "tcp: %s", moonsand_error_message(a.err));
    ok(strstr(moonsand_error_message(a.err), "port 1 ") != NULL, "no proxy");
    forget(&a);
    ms_http_free(http);
}

static void *accept_later(void *arg)
{
    usleep(100000);
    for (int answered = 0; answered < 12;) {
        int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);
        char buf[1000];
        if (recv(fd, buf, sizeof(buf), 0) > 0) {
            send(fd, "HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", 38, MSG_NOSIGNAL);
            answered++;
        }
        close(fd);
    }
    return NULL;
}

static void full_backlog(void)
{
    char path[] = "/tmp/moonsand-busy-XXXXXX";
    close(mkostemp(path, O_CLOEXEC));
    unlink(path);
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    memcpy(u.sun_path, path, sizeof(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&u, sizeof(u)) != 0 || listen(fd, 1) != 0)
        abort();
    pthread_t t;
    pthread_create(&t, NULL, accept_later, &fd);
    ms_endpoint ep = {.kind = MS_UNIX, .unix_path = path};
    ms_http_new(&http, loop, &ep, NULL);
    static answer all[12];
    ms_http_call *c;
    for (int i = 0; i < 12; i++) {
        ms_http_request req = {.method = "GET",
                               .path = "/",
                               .body_fd = -1,
                               .on_done = on_done,
                               .arg = &all[i],
                               .timeout_ns = patience(10 * MS_S)};
        ms_http_start(&c, http, &req, NULL);
    }
    bool good = true;
    for (int i = 0; i < 12; i++) {
        good = fake_drive(loop, &all[i].done, patience(10 * MS_S)) && all[i].status == 204 && good;
        forget(&all[i]);
    }
    ok(good, "more connections than the backlog takes");
    pthread_join(t, NULL);
    ms_http_free(http);
    unlink(path);
    close(fd);
}

/* ---- TLS ---- */

static void tls(void)
{
    up(true, echo, NULL);
    answer a;
    CALL(&a, .method = "POST", .body = "secret", .body_len = 6);
    ok(a.status == 200 && strstr(a.body, "secret") != NULL, "TLS: %s",
       moonsand_error_message(a.err));
    forget(&a);
    CALL(&a, .path = "/");
    is_int(atomic_load(&server.count), 1, "one handshake for two calls");
    forget(&a);
    ms_http_free(http);
    ms_endpoint ep = {.kind = MS_TCP,
                      .host_port = server.host_port,
                      .tls = true,
                      .tls_verify = true,
                      .cert = server.cert,
                      .key = server.key};
    ms_http_new(&http, loop, &ep, NULL);
    CALL(&a, .path = "/");
    is_str(code(&a), "connect", "an unknown authority: %s", moonsand_error_message(a.err));
    forget(&a);
    ms_http_free(http);
    ep.ca = server.cert;
    ep.cert = ep.key = NULL;
    ms_http_new(&http, loop, &ep, NULL);
    CALL(&a, .path = "/");
    ok(a.err != NULL, "no client certificate: %s", moonsand_error_message(a.err));
    forget(&a);
    down();
}

/* ---- a program as connection ---- */

static int children(void)
{
    int n = 0;
    FILE *f = fopen("/proc/thread-self/children", "re");
    int pid;
    while (f != NULL && fscanf(f, "%d", &pid) == 1)
        n++;
    if (f != NULL)
        fclose(f);
    return n;
}

static void ssh(void)
{
    int pidfd = pidfd_open(getpid(), 0);
    if (pidfd < 0) {
        skip("no pidfd_open (valgrind)");
        return;
    }
    close(pidfd);
    fake_start(&server, false, echo, NULL);
    char *argv[] = {(char *)(uintptr_t)program, "--dial", server.path, NULL};
    ms_endpoint ep = {.kind = MS_SSH, .ssh_argv = argv};
    ms_http_new(&http, loop, &ep, NULL);
    answer a;
    for (int i = 0; i < 3; i++) {
        CALL(&a, .method = "POST", .body = "through a pipe", .body_len = 14);
        ok(a.status == 200 && strstr(a.body, "through a pipe") != NULL, "by a program: %s",
           moonsand_error_message(a.err));
        forget(&a);
    }
    is_int(atomic_load(&server.count), 1, "one program for three calls");
    is_int(children(), 1, "which lives on");
    ms_http_free(http);
    is_int(children(), 0, "and is gone with the connection");

    argv[2] = "/nonexistent";
    ms_http_new(&http, loop, &ep, NULL);
    CALL(&a, .path = "/");
    is_str(code(&a), "connect", "a program that fails: %s", moonsand_error_message(a.err));
    ok(strstr(moonsand_error_message(a.err), "up no daemon?here") != NULL, "its words are told");
    bool no = false;
    for (int i = 0; i < 100 && children() != 0; i++)
        fake_drive(loop, &no, 20 * MS_MS);
    is_int(children(), 0, "and it is reaped while the loop turns");
    forget(&a);
    ms_http_free(http);
    argv[0] = "/nonexistent/ssh";
    ms_http_new(&http, loop, &ep, NULL);
    CALL(&a, .path = "/");
    is_str(code(&a), "connect", "no such program: %s", moonsand_error_message(a.err));
    forget(&a);
    ms_http_free(http);
    fake_stop(&server);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--dial") == 0)
        return fake_dial_stdio(argv[2]);
    program = argv[0];
    moonsand_loop_new(&loop, NULL);
    tls(); /* first: OpenSSL opens files that it keeps */
    int fds = open_fds();
    connecting();
    full_backlog();
    ssh();
    is_int(open_fds(), fds, "no descriptor leaked");
    moonsand_loop_free(loop);
    return done_testing();
}
