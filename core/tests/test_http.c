/* Calls against a server of our own: what it says, what it leaves out, when it dies. */
#include <fcntl.h>
#include <signal.h>

#include "fake_http.h"

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
    ok(ticks > 10 / slowdown(), "which does not hold up the loop");
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

/* ---- callbacks with pieces ---- */

#define BIG (20u << 20)

static void serve_big(fake_conn *c, void *arg)
{
    (void)arg;
    static char piece[1 << 16];
    while (fake_request(c)) {
        if (strncmp(c->head, "GET /small", 10) == 0) {
            fake_puts(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall");
            continue;
        }
        fake_puts(c, "HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n");
        for (size_t i = 0; i < BIG / sizeof(piece); i++) {
            memset(piece, (int)('a' + i % 26), sizeof(piece));
            if (!fake_send(c, piece, sizeof(piece)))
                return;
        }
    }
}

typedef struct eater {
    ms_http_call *call;
    size_t eaten, largest, wrong;
    size_t stop; /* after so many bytes: 0 never */
    bool frees, small, done;
    answer inner; /* of a call that the first piece starts */
} eater;

static int eat(void *arg, const char *p, size_t n, moonsand_error **err)
{
    eater *e = arg;
    (void)err;
    for (size_t i = 0; i < n && !e->small; i += 4096)
        e->wrong += p[i] != (char)('a' + (e->eaten + i) / 65536 % 26);
    if (e->eaten == 0 && !e->frees) {
        ms_http_call *c;
        ms_http_request req = {.method = "GET", .path = "/small", .body_fd = -1};
        req.on_done = on_done;
        req.arg = &e->inner;
        e->wrong += ms_http_start(&c, http, &req, NULL) != 0;
    }
    e->eaten += n;
    e->largest = n > e->largest ? n : e->largest;
    if (e->stop == 0 || e->eaten < e->stop)
        return 0;
    ms_http_cancel(e->call);
    e->stop = SIZE_MAX;
    if (e->frees) {
        ms_http_free(http);
        http = NULL;
    }
    return 0;
}

static void eaten(void *arg, ms_http_call *c, int status, const char *body, size_t len,
                  moonsand_error *err)
{
    eater *e = arg;
    (void)c, (void)body;
    e->done = true;
    e->wrong += status != 200 || len != 0 || err != NULL;
    moonsand_error_free(err);
}

static void eat_big(eater *e)
{
    ms_http_request req = {.method = "GET", .body_fd = -1};
    req.path = e->small ? "/small" : "/big";
    req.on_data = eat;
    req.on_done = eaten;
    req.arg = e;
    up(false, serve_big, NULL);
    ms_http_start(&e->call, http, &req, NULL);
    fake_drive(loop, &e->done, e->stop != 0 ? 300 * MS_MS : 20 * MS_S);
    down();
}

static void pieces(void)
{
    eater all = {0}, cancelled = {.stop = 100000}, freed = {.stop = 100000, .frees = true};
    eat_big(&all);
    ok(all.done && all.eaten == BIG && all.wrong == 0, "20 MiB in pieces (%zu)", all.eaten);
    ok(all.largest <= 2u << 20, "none of them large (%zu)", all.largest);
    is_str(all.inner.body, "small", "on_data may start a call");
    eat_big(&cancelled);
    ok(!cancelled.done && cancelled.stop == SIZE_MAX && cancelled.wrong == 0,
       "on_data may cancel its own call");
    eat_big(&freed);
    ok(!freed.done && freed.stop == SIZE_MAX && freed.wrong == 0, "and free everything");
    eater last = {.stop = 1, .small = true, .frees = true};
    eat_big(&last);
    ok(!last.done && last.eaten == 5, "with the last piece as well");
    eater gone = {.stop = 1, .small = true};
    eat_big(&gone);
    ok(!gone.done && gone.eaten == 5, "or cancel");
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

int main(void)
{
    moonsand_loop_new(&loop, NULL);
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
    pieces();
    dying();
    is_int(open_fds(), fds, "no descriptor leaked");
    moonsand_loop_free(loop);
    return done_testing();
}
