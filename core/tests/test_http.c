/* Calls against a server of our own: what it says, what it leaves out, when it dies. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "dial.h"
#include "error.h"
#include "fake_server.h"
#include "http.h"
#include "tap.h"

static moonsand_loop *loop;
static fake server;
static ms_http *http;
static const char *program;

typedef struct answer {
    bool done;
    int status, calls;
    char body[4096], header[64];
    size_t len, data;
    moonsand_error *err;
} answer;

static void on_done(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err)
{
    answer *a = arg;
    a->done = true;
    a->calls++;
    a->status = status;
    a->len = len;
    a->err = err;
    const char *h = err == NULL ? ms_http_header(call, "api-version") : NULL;
    snprintf(a->header, sizeof(a->header), "%s", h != NULL ? h : "(none)");
    snprintf(a->body, sizeof(a->body), "%.*s", (int)(len < 4000 ? len : 4000), body ? body : "");
}

static void on_data(void *arg, const char *p, size_t n)
{
    answer *a = arg;
    (void)p;
    a->data += n;
}

static bool call(answer *a, ms_http_request req)
{
    memset(a, 0, sizeof(*a));
    ms_http_call *c;
    req.on_done = on_done;
    req.arg = a;
    if (req.body_fd == 0)
        req.body_fd = -1;
    if (req.method == NULL)
        req.method = "GET";
    if (req.path == NULL)
        req.path = "/";
    if (req.timeout_ns == 0)
        req.timeout_ns = 10 * MS_S;
    if (ms_http_start(&c, http, &req, &a->err) != 0)
        return false;
    return fake_drive(loop, &a->done, 20 * MS_S);
}
#define CALL(a, ...) call(a, (ms_http_request){__VA_ARGS__})

static const char *code(const answer *a)
{
    return moonsand_code_name(moonsand_error_code(a->err));
}

static void forget(answer *a)
{
    moonsand_error_free(a->err);
    a->err = NULL;
}

static void up(bool tls, void (*serve)(fake_conn *, void *), void *arg)
{
    fake_start(&server, tls, serve, arg);
    ms_endpoint ep = {.kind = tls ? MS_TCP : MS_UNIX, .unix_path = server.path};
    if (tls) {
        ep.host_port = server.host_port;
        ep.tls = ep.tls_verify = true;
        ep.ca = ep.cert = server.cert;
        ep.key = server.key;
    }
    moonsand_error *err = NULL;
    if (ms_http_new(&http, loop, &ep, &err) != 0)
        ok(false, "ms_http_new: %s", moonsand_error_message(err));
}

static void down(void)
{
    ms_http_free(http);
    fake_stop(&server);
}

/* Echoes: the head, then as much body as Content-Length says, or chunks as they are. */
static void echo(fake_conn *c, void *arg)
{
    (void)arg;
    while (fake_request(c)) {
        static _Thread_local char body[1 << 16];
        size_t len = 0;
        const char *cl = strcasestr(c->head, "Content-Length: ");
        if (cl != NULL) {
            len = strtoul(cl + 16, NULL, 10);
            if (len > sizeof(body) || !fake_read_all(c, body, len))
                return;
        } else if (strstr(c->head, "chunked") != NULL) {
            while (len < 5 || memcmp(body + len - 5, "0\r\n\r\n", 5) != 0)
                if (len == sizeof(body) || !fake_read_all(c, body + len++, 1))
                    return;
        }
        char head[256];
        snprintf(head, sizeof(head),
                 "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: %zu\r\n\r\n",
                 strlen(c->head) + len);
        if (!fake_puts(c, head) || (strncmp(c->head, "HEAD", 4) != 0 &&
                                    (!fake_puts(c, c->head) || !fake_send(c, body, len))))
            return;
    }
}

static void plain(void)
{
    answer a;
    ok(CALL(&a, .path = "/v1.41/info?x=%7B%22a%22%7D&y=../.."), "GET");
    is_int(a.status, 200, "status: %s", moonsand_error_message(a.err));
    is_str(a.header, "1.41", "a header by any case");
    ok(strstr(a.body, "GET /v1.41/info?x=%7B%22a%22%7D&y=../.. HTTP/1.1\r\n") == a.body,
       "the path as it was given");
    ok(strcasestr(a.body, "accept-encoding") == NULL && strcasestr(a.body, "content-type") == NULL,
       "no headers that were not asked for");
    CALL(&a, .method = "POST", .path = "/containers/x/start");
    ok(strstr(a.body, "Content-Length: 0\r\n") != NULL && strcasestr(a.body, "type:") == NULL,
       "POST without a body");
    CALL(&a, .method = "POST", .body = "{\"a\":1}", .body_len = 7);
    ok(strstr(a.body, "application/json") != NULL && strstr(a.body, "{\"a\":1}") != NULL, "POST");
    CALL(&a, .method = "PUT", .body = "tar", .body_len = 3, .content_type = "application/x-tar");
    ok(strncmp(a.body, "PUT ", 4) == 0 && strstr(a.body, "application/x-tar") != NULL, "PUT");
    CALL(&a, .method = "DELETE", .path = "/containers/x?force=1");
    ok(strncmp(a.body, "DELETE /containers/x?force=1", 28) == 0, "DELETE");
    CALL(&a, .method = "HEAD");
    ok(a.status == 200 && a.len == 0, "HEAD");
    CALL(&a, .on_data = on_data);
    ok(a.status == 200 && a.len == 0 && a.data > 50, "on_data takes the body");
    is_int(atomic_load(&server.count), 1, "all over one connection");

    static char big[60000];
    memset(big, 'x', sizeof(big) - 1);
    CALL(&a, .method = "POST", .body = big, .body_len = sizeof(big) - 1);
    ok(a.len > sizeof(big) && strcasestr(a.body, "Expect") == NULL, "a larger body");

    char name[] = "/tmp/moonsand-body-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    unlink(name);
    if (write(fd, "skipfile", 8) != 8 || lseek(fd, 4, SEEK_SET) != 4)
        abort();
    CALL(&a, .method = "POST", .body_fd = fd);
    ok(strstr(a.body, "chunked") != NULL && strstr(a.body, "4\r\nfile\r\n0\r\n") != NULL,
       "a file from its position");
    close(fd);
    forget(&a);
}

static void *slow_pipe(void *arg)
{
    int fd = *(int *)arg;
    for (int i = 0; i < 3; i++) {
        usleep(20000);
        if (write(fd, "abc", 3) != 3)
            abort();
    }
    close(fd);
    return NULL;
}

static ms_timer tick_timer;
static int ticks;

static void tick(void *arg)
{
    (void)arg;
    ticks++;
    ms_timer_start(&tick_timer, loop, 2 * MS_MS, tick, NULL);
}

static void from_pipe(void)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        abort();
    pthread_t t;
    answer a;
    ticks = 0;
    tick(NULL);
    pthread_create(&t, NULL, slow_pipe, &fds[1]);
    CALL(&a, .method = "POST", .body_fd = fds[0]);
    int pieces = 0;
    for (const char *p = a.body; (p = strstr(p, "abc")) != NULL; p++)
        pieces++;
    ok(a.status == 200 && pieces == 3, "a body from a slow pipe");
    ok(ticks > 10, "which does not hold up the loop");
    ms_timer_stop(&tick_timer);
    pthread_join(t, NULL);
    close(fds[0]);
    forget(&a);
}

static void misuse(void)
{
    answer a;
    static const char *const paths[] = {"info", "/a b", "/a\r\nX: y", "/a\n", ""};
    bool good = true;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        good = !CALL(&a, .path = paths[i]) && good;
        good = moonsand_error_code(a.err) == MOONSAND_E_INVALID && good;
        forget(&a);
    }
    ok(good, "paths that would break the request");
    ok(!CALL(&a, .method = "GET /x"), "a method with a space");
    forget(&a);
    ok(!CALL(&a, .method = "POST", .body = "", .content_type = "a\r\nb: c"),
       "a type with a line end");
    forget(&a);
}

/* ---- answers that end too early ---- */

typedef struct cut {
    const char *text;
    size_t len;
    atomic_size_t at;
} cut;

static void serve_cut(fake_conn *c, void *arg)
{
    cut *k = arg;
    if (fake_request(c))
        fake_send(c, k->text, atomic_load(&k->at));
}

/* enough: how many bytes make it whole */
static void cut_answers(const char *text, size_t enough, const char *name)
{
    cut k = {.text = text, .len = strlen(text)};
    up(false, serve_cut, &k);
    int bad = -1;
    for (size_t i = 0; i <= k.len; i++) {
        answer a;
        atomic_store(&k.at, i);
        bool done = CALL(&a, .path = "/");
        if (!done || (i < enough) != (a.err != NULL) || a.calls != 1)
            bad = (int)i;
        forget(&a);
    }
    is_int(bad, -1, "%s: cut at each byte is an error, whole is not", name);
    down();
}

/* ---- answers that are wrong ---- */

static void serve_text(fake_conn *c, void *arg)
{
    if (fake_request(c))
        fake_puts(c, arg);
}

static void wrong(const char *text, const char *want, const char *name)
{
    char copy[20000];
    snprintf(copy, sizeof(copy), "%s", text);
    up(false, serve_text, copy);
    answer a;
    ok(CALL(&a, .path = "/"), "%s", name);
    is_str(code(&a), want, "its code: %s", moonsand_error_message(a.err));
    forget(&a);
    down();
}

static void wrong_answers(void)
{
    wrong("HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nNo "
          "such\n",
          "ok", "404 without a length");
    wrong("HTTP/1.1 204 No Content\r\n\r\n", "ok", "204");
    wrong("HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\nx", "protocol", "no number");
    wrong("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx", "protocol", "a negative length");
    wrong("ceci n'est pas du HTTP\r\n\r\n", "protocol", "no HTTP at all");
    wrong("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "io", "no chunk");
    wrong("", "io", "nothing");
    char big[20000];
    int n = snprintf(big, sizeof(big), "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n");
    memset(big + n, 'x', 10000);
    big[n + 10000] = '\0';
    up(false, serve_text, big);
    answer a;
    CALL(&a, .max_body = 10000);
    ok(a.err == NULL && a.len == 10000, "as long as allowed: %s", moonsand_error_message(a.err));
    forget(&a);
    CALL(&a, .max_body = 9999);
    is_str(code(&a), "protocol", "too long: %s", moonsand_error_message(a.err));
    forget(&a);
    CALL(&a, .max_body = 9999, .on_data = on_data);
    ok(a.err == NULL && a.data == 10000, "on_data has no limit");
    forget(&a);
    down();
}

/* ---- time ---- */

static void serve_never(fake_conn *c, void *arg)
{
    (void)arg;
    char byte;
    while (fake_read(c, &byte, 1) > 0)
        ;
}

static void serve_slow(fake_conn *c, void *arg)
{
    (void)arg;
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow";
    if (!fake_request(c))
        return;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        usleep(500);
        if (!fake_send(c, text + i, 1))
            return;
    }
}

static void never(void *arg, ms_http_call *c, int status, const char *body, size_t len,
                  moonsand_error *err)
{
    (void)arg, (void)c, (void)status, (void)body, (void)len;
    moonsand_error_free(err);
    ok(false, "on_done of a cancelled call");
}

static void *kick(void *arg)
{
    for (int i = 0; i < 20; i++) {
        usleep(1000);
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
    }
    return NULL;
}

static void nothing(int sig)
{
    (void)sig;
}

static void timing(void)
{
    answer a;
    up(false, serve_slow, NULL);
    pthread_t self = pthread_self(), t;
    struct sigaction sa = {.sa_handler = nothing};
    sigaction(SIGUSR1, &sa, NULL);
    pthread_create(&t, NULL, kick, &self);
    CALL(&a, .path = "/");
    is_str(a.body, "slow", "byte by byte, with signals in between");
    forget(&a);
    pthread_join(t, NULL);
    down();

    up(false, serve_never, NULL);
    int64_t t0 = ms_now_ns();
    CALL(&a, .timeout_ns = 50 * MS_MS);
    is_str(code(&a), "timeout", "no answer: %s", moonsand_error_message(a.err));
    ok(ms_now_ns() - t0 >= 49 * MS_MS && ms_now_ns() - t0 < 5 * MS_S, "in time");
    forget(&a);
    ms_http_call *c;
    ms_http_request req = {.method = "GET", .path = "/", .body_fd = -1, .on_done = never};
    bool no = false;
    for (int i = 0; i < 3; i++) {
        ms_http_start(&c, http, &req, NULL);
        fake_drive(loop, &no, i * 5 * MS_MS);
        ms_http_cancel(c);
    }
    ms_http_cancel(NULL);
    fake_drive(loop, &no, 10 * MS_MS);
    ok(true, "cancelled before, while and after connecting");
    ms_http_start(&c, http, &req, NULL);
    ms_http_start(&c, http, &req, NULL);
    down();
    ok(true, "freed with calls in flight");
}

/* ---- callbacks that start, cancel and free ---- */

static ms_http_call *victims[3];
static int killed;

static void kill_others(void *arg, ms_http_call *c, int status, const char *body, size_t len,
                        moonsand_error *err)
{
    (void)status, (void)body, (void)len;
    moonsand_error_free(err);
    killed++;
    ms_http_cancel(c); /* its own: no harm */
    for (int i = 0; i < 3; i++)
        if (victims[i] != c)
            ms_http_cancel(victims[i]);
    if (arg != NULL) {
        ms_http_free(http);
        http = NULL;
    }
}

static void callbacks(void)
{
    up(false, echo, NULL);
    ms_http_request req = {.method = "GET", .path = "/", .body_fd = -1, .on_done = kill_others};
    bool no = false;
    for (int i = 0; i < 3; i++)
        ms_http_start(&victims[i], http, &req, NULL);
    /* all three answers wait in one step */
    moonsand_loop_step(loop, NULL);
    usleep(50000);
    fake_drive(loop, &no, 100 * MS_MS);
    is_int(killed, 1, "the first that is done cancels the others");
    req.arg = &server;
    for (int i = 0; i < 3; i++)
        ms_http_start(&victims[i], http, &req, NULL);
    moonsand_loop_step(loop, NULL);
    usleep(50000);
    fake_drive(loop, &no, 100 * MS_MS);
    is_int(killed, 2, "and frees everything");
    down();
}

/* ---- a kept connection that dies ---- */

static void serve_two(fake_conn *c, void *arg)
{
    atomic_int *posts = arg;
    while (fake_request(c)) {
        if (strncmp(c->head, "POST /boom", 10) == 0) {
            atomic_fetch_add(posts, 1);
            return; /* takes the request, dies */
        }
        if (strncmp(c->head, "GET /boom", 9) == 0 && c->nth == 2)
            return;
        fake_puts(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

static void dying(void)
{
    atomic_int posts = 0;
    answer a;
    up(false, serve_two, &posts);
    CALL(&a, .path = "/");
    CALL(&a, .method = "POST", .path = "/boom", .body = "x", .body_len = 1);
    is_str(code(&a), "io", "a POST on a dying connection: %s", moonsand_error_message(a.err));
    forget(&a);
    is_int(atomic_load(&posts), 1, "is not sent a second time");
    CALL(&a, .path = "/");
    CALL(&a, .method = "POST", .path = "/boom");
    is_str(code(&a), "io", "without a body as well");
    forget(&a);
    is_int(atomic_load(&posts), 2, "not sent again");
    CALL(&a, .path = "/");
    CALL(&a, .path = "/boom");
    is_int(a.status, 200, "a GET is");
    forget(&a);
    down();
}

/* ---- connecting ---- */

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
                               .timeout_ns = 10 * MS_S};
        ms_http_start(&c, http, &req, NULL);
    }
    bool good = true;
    for (int i = 0; i < 12; i++) {
        good = fake_drive(loop, &all[i].done, 10 * MS_S) && all[i].status == 204 && good;
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

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--dial") == 0)
        return fake_dial_stdio(argv[2]);
    program = argv[0];
    moonsand_loop_new(&loop, NULL);
    tls(); /* first: OpenSSL opens files that it keeps */
    int fds = open_fds();
    up(false, echo, NULL);
    plain();
    from_pipe();
    misuse();
    down();
    cut_answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 43, "a length");
    /* curl does not insist on the very last line feed */
    cut_answers(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 66,
        "chunks");
    wrong_answers();
    timing();
    callbacks();
    dying();
    connecting();
    full_backlog();
    ssh();
    is_int(open_fds(), fds, "no descriptor leaked");
    moonsand_loop_free(loop);
    return done_testing();
}
