#include "http.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"
#include "http_impl.h"

#define SCRATCH_SIZE (256u << 10)
#define SEND_BUFFER (1 << 20)
#define IDLE_CONNECTIONS 16L
#define BUSY_RETRY (5 * MS_MS)
#define BUSY_GIVE_UP (30 * MS_S)

typedef struct sock {
    ms_watch watch;
    ms_http *http;
    struct sock *next;
} sock;

static int copy_string(char **to, const char *from)
{
    *to = ms_strdup(from);
    return from != NULL && *to == NULL ? -1 : 0;
}

static int endpoint_copy(ms_endpoint *to, const ms_endpoint *from)
{
    *to = (ms_endpoint){.kind = from->kind, .tls = from->tls, .tls_verify = from->tls_verify};
    if (copy_string(&to->url, from->url) != 0 || copy_string(&to->found_by, from->found_by) != 0 ||
        copy_string(&to->unix_path, from->unix_path) != 0 ||
        copy_string(&to->host_port, from->host_port) != 0 || copy_string(&to->ca, from->ca) != 0 ||
        copy_string(&to->cert, from->cert) != 0 || copy_string(&to->key, from->key) != 0)
        return -1;
    if (from->ssh_argv == NULL)
        return 0;
    size_t n = 0;
    while (from->ssh_argv[n] != NULL)
        n++;
    to->ssh_argv = ms_calloc(n + 1, sizeof(char *));
    if (to->ssh_argv == NULL)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (copy_string(&to->ssh_argv[i], from->ssh_argv[i]) != 0)
            return -1;
    return 0;
}

/* ---- rings ---- */

static void ring_init(ms_transfer *head)
{
    head->prev = head->next = head;
}

void ms_ring_remove(ms_transfer *t)
{
    t->prev->next = t->next;
    t->next->prev = t->prev;
    ring_init(t);
}

void ms_ring_add(ms_transfer *head, ms_transfer *t)
{
    t->prev = head->prev;
    t->next = head;
    head->prev->next = t;
    head->prev = t;
}

/* ---- curl on the loop ---- */

static void deliver(ms_http *h);

static void on_later(void *arg)
{
    deliver(arg);
}

static void finish(ms_transfer *t, CURLcode result)
{
    t->result = result;
    ms_ring_remove(t);
    ms_ring_add(&t->http->finished, t);
}

void ms_transfer_take_off(ms_transfer *t)
{
    if (t->on_multi)
        curl_multi_remove_handle(t->http->multi, t->easy);
    t->on_multi = false;
}

/* Close-on-exec from the start: another thread of the host may be about to fork. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
    (void)arg;
    (void)purpose;
    int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
    /* A unix socket can be written to again when three quarters of its buffer were read: with the
     * usual 208 KiB the engine waits for us at each piece of a large body (500 MiB: 3.0 s, with
     * this 2.1 s). TCP sizes its buffers itself. */
    int size = SEND_BUFFER;
    if (fd >= 0 && addr->family == AF_UNIX &&
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return fd;
}

static long left_ms(const ms_transfer *t)
{
    int64_t left = (t->timeout_ns - (ms_now_ns() - t->start_ns) + MS_MS - 1) / MS_MS;
    return left < 1 ? 1 : left > INT_MAX ? INT_MAX : (long)left;
}

static CURLMcode put_on(ms_transfer *t)
{
    if (t->timeout_ns > 0) {
        curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, left_ms(t));
        curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, left_ms(t));
    }
    CURLMcode m = curl_multi_add_handle(t->http->multi, t->easy);
    t->on_multi = m == CURLM_OK;
    return m;
}

static void on_retry(void *arg)
{
    ms_transfer *t = arg;
    if (put_on(t) != CURLM_OK) {
        finish(t, CURLE_OUT_OF_MEMORY);
        ms_timer_start(&t->http->later, t->http->loop, 0, on_later, t->http);
    }
}

/* connect(2), EAGAIN: "For nonblocking UNIX domain sockets, the socket is nonblocking, and the
 * connection cannot be completed immediately": the backlog is full. curl takes it for "in
 * progress", and then for refused, or, seeing that the socket is writable, even for connected. */
static bool is_busy(ms_transfer *t, CURLcode result)
{
    const ms_endpoint *ep = &t->http->ep;
    if (ep->kind == MS_TCP)
        return false;
    if (result == CURLE_COULDNT_CONNECT)
        return ep->kind == MS_SSH || ms_dial_probe(ep->unix_path, &t->failure) == 0;
    if (t->is_conn && result == CURLE_OK) {
        struct sockaddr_un peer;
        socklen_t len = sizeof(peer);
        int fd = ms_conn_fd((ms_conn *)t);
        return getpeername(fd, (struct sockaddr *)&peer, &len) != 0 && errno == ENOTCONN;
    }
    long e = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &e);
    return result == CURLE_SEND_ERROR && e == ENOTCONN;
}

/* True when there is time to try again. */
static bool retry_busy(ms_transfer *t, CURLcode result)
{
    int64_t limit = t->timeout_ns > 0 ? t->timeout_ns : BUSY_GIVE_UP;
    t->busy = is_busy(t, result);
    if (!t->busy || ms_now_ns() + BUSY_RETRY - t->start_ns > limit)
        return false;
    ms_transfer_take_off(t);
    ms_timer_start(&t->retry, t->http->loop, BUSY_RETRY, on_retry, t);
    return true;
}

static void collect(ms_http *h)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(h->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        ms_transfer *t = NULL;
        CURLcode result = msg->data.result; /* msg is gone when a handle is removed */
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        if (!retry_busy(t, result))
            finish(t, t->busy ? CURLE_COULDNT_CONNECT : result);
    }
    ms_transfer *next;
    for (ms_transfer *t = h->active.next; t != &h->active; t = next) {
        next = t->next;
        if (t->starved)
            finish(t, CURLE_OUT_OF_MEMORY);
    }
}

/* May free h. */
static void pump(ms_http *h, curl_socket_t fd, int bits)
{
    int running;
    curl_multi_socket_action(h->multi, fd, bits, &running);
    collect(h);
    deliver(h);
}

static void on_timer(void *arg)
{
    pump(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    ms_http *h = arg;
    if (timeout_ms < 0)
        ms_timer_stop(&h->timer);
    else
        ms_timer_start(&h->timer, h->loop, timeout_ms * MS_MS, on_timer, h);
    return 0;
}

static void on_sock(void *arg, uint32_t events)
{
    sock *s = arg;
    int bits = 0;
    /* Not CURL_CSELECT_ERR: curl then gives up without reading what came before the error. */
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        bits |= CURL_CSELECT_IN;
    if (events & (EPOLLOUT | EPOLLERR))
        bits |= CURL_CSELECT_OUT;
    pump(s->http, s->watch.fd, bits);
}

static void sock_free(ms_http *h, sock *s)
{
    sock **at = &h->socks;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    ms_watch_stop(&s->watch);
    ms_free(s);
}

/* Returns 0 also when it fails. CURLMOPT_SOCKETFUNCTION: "If this callback returns error, all
 * transfers currently in progress in this multi handle will be aborted"; one is enough. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    ms_http *h = arg;
    sock *s = known;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL)
            sock_free(h, s);
        return 0;
    }
    uint32_t events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                      (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (s == NULL) {
        s = ms_calloc(1, sizeof(*s));
        if (s == NULL)
            goto starved;
        s->http = h;
        if (ms_watch_start(&s->watch, h->loop, fd, events, on_sock, s, NULL) != 0) {
            ms_free(s);
            goto starved;
        }
        s->next = h->socks;
        h->socks = s;
        curl_multi_assign(h->multi, fd, s);
        return 0;
    }
    if (ms_watch_set(&s->watch, events, NULL) == 0)
        return 0;
starved:;
    ms_transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    if (t != NULL) {
        t->starved = true;
        ms_timer_start(&h->timer, h->loop, 0, on_timer, h);
    }
    return 0;
}

/* ---- transfers ---- */

static bool set_tls(CURL *e, const ms_endpoint *ep)
{
    long verify = ep->tls_verify ? 1 : 0;
    return curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, verify) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2 * verify) == CURLE_OK &&
           /* with an authority of its own an engine is vouched for by no other */
           (ep->ca == NULL || (curl_easy_setopt(e, CURLOPT_CAINFO, ep->ca) == CURLE_OK &&
                               curl_easy_setopt(e, CURLOPT_CAPATH, NULL) == CURLE_OK)) &&
           (ep->cert == NULL || curl_easy_setopt(e, CURLOPT_SSLCERT, ep->cert) == CURLE_OK) &&
           (ep->key == NULL || curl_easy_setopt(e, CURLOPT_SSLKEY, ep->key) == CURLE_OK);
}

static bool set_common(ms_transfer *t)
{
    CURL *e = t->easy;
    const ms_endpoint *ep = &t->http->ep;
    return MS_SET(e, URL, t->http->url) && MS_SET(e, PRIVATE, t) &&
           MS_SET(e, ERRORBUFFER, t->text) && MS_SET(e, NOSIGNAL, 1L) &&
           MS_SET(e, PROTOCOLS_STR, "http,https") && MS_SET(e, FOLLOWLOCATION, 0L) &&
           MS_SET(e, HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           /* "Setting the proxy string to "" (an empty string) explicitly disables the use of a
            * proxy, even if there is an environment variable set for it." */
           MS_SET(e, PROXY, "") && MS_SET(e, OPENSOCKETFUNCTION, on_open_socket) &&
           (ep->kind != MS_TCP || (MS_SET(e, TCP_KEEPALIVE, 1L) && MS_SET(e, TCP_KEEPIDLE, 30L))) &&
           (ep->kind != MS_UNIX || MS_SET(e, UNIX_SOCKET_PATH, ep->unix_path)) &&
           (ep->kind != MS_SSH || MS_SET(e, UNIX_SOCKET_PATH, ms_dial_path(t->http->dial))) &&
           (ep->kind != MS_TCP || !ep->tls || set_tls(e, ep));
}

int ms_transfer_init(ms_transfer *t, ms_http *h, int64_t timeout_ns, moonsand_error **err)
{
    t->http = h;
    t->start_ns = ms_now_ns();
    t->timeout_ns = timeout_ns;
    ring_init(t);
    t->easy = curl_easy_init();
    if (t->easy == NULL || !set_common(t))
        return ms_fail_nomem(err);
    return 0;
}

int ms_transfer_start(ms_transfer *t, moonsand_error **err)
{
    CURLMcode m = put_on(t);
    if (m == CURLM_OUT_OF_MEMORY)
        return ms_fail_nomem(err);
    if (m != CURLM_OK)
        return ms_fail(err, MOONSAND_E_INVALID, "cannot start a call: %s", curl_multi_strerror(m));
    ms_ring_add(&t->http->active, t);
    return 0;
}

void ms_transfer_end(ms_transfer *t)
{
    ms_timer_stop(&t->retry);
    ms_ring_remove(t);
    ms_transfer_take_off(t);
    curl_easy_cleanup(t->easy);
    t->easy = NULL;
    moonsand_error_free(t->failure);
    t->failure = NULL;
}

/* ---- http ---- */

/* A callback may start, cancel and free whatever it likes, h too. */
static void deliver(ms_http *h)
{
    h->delivering = true;
    for (;;) {
        ms_transfer *t = h->fed.next;
        if (t != &h->fed) {
            ms_ring_remove(t);
            ms_ring_add(&h->active, t);
            ms_call_hand_over((ms_http_call *)t);
            continue;
        }
        t = h->finished.next;
        if (t == &h->finished)
            break;
        ms_ring_remove(t);
        if (t->is_conn)
            ms_conn_deliver((ms_conn *)t);
        else
            ms_call_deliver((ms_http_call *)t);
    }
    h->delivering = false;
    if (h->dead)
        ms_free(h);
}

/* libcurl's global state is the one thing of this library that the whole process shares. It is
 * never cleaned up: another part of the process may use libcurl too. */
static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void global_init(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int check_endpoint(const ms_endpoint *ep, moonsand_error **err)
{
    size_t room = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    if (ep->kind == MS_UNIX && (ep->unix_path == NULL || strlen(ep->unix_path) > room))
        return ms_fail(err, MOONSAND_E_INVALID, "the path of a socket has at most %zu bytes: %s",
                       room, ep->unix_path != NULL ? ep->unix_path : "(none)");
    if (ep->kind == MS_TCP && (ep->host_port == NULL || !ms_http_plain(ep->host_port)))
        return ms_fail(err, MOONSAND_E_INVALID, "a tcp endpoint needs host:port");
    if (ep->kind == MS_SSH && (ep->ssh_argv == NULL || ep->ssh_argv[0] == NULL))
        return ms_fail(err, MOONSAND_E_INVALID, "an ssh endpoint needs a program to run");
    return 0;
}

int ms_http_new(ms_http **out, moonsand_loop *loop, const ms_endpoint *ep, moonsand_error **err)
{
    *out = NULL;
    if (check_endpoint(ep, err) != 0)
        return -1;
    pthread_once(&global_once, global_init);
    ms_http *h = global_result == CURLE_OK ? ms_calloc(1, sizeof(*h)) : NULL;
    if (h == NULL)
        return ms_fail_nomem(err);
    h->loop = loop;
    ring_init(&h->active);
    ring_init(&h->fed);
    ring_init(&h->finished);
    bool tcp = ep->kind == MS_TCP;
    h->url = ms_asprintf("%s://%s/", tcp && ep->tls ? "https" : "http",
                         tcp ? ep->host_port : "localhost");
    h->scratch = ms_malloc(SCRATCH_SIZE);
    h->multi = curl_multi_init();
    if (endpoint_copy(&h->ep, ep) != 0 || h->url == NULL || h->scratch == NULL ||
        h->multi == NULL || (h->ep.url == NULL && (h->ep.url = ms_strdup(h->url)) == NULL)) {
        ms_http_free(h);
        return ms_fail_nomem(err);
    }
    if (ep->kind == MS_SSH && ms_dial_new(&h->dial, loop, h->ep.ssh_argv, err) != 0) {
        ms_http_free(h);
        return -1;
    }
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
    *out = h;
    return 0;
}

void ms_http_free(ms_http *http)
{
    if (http == NULL)
        return;
    ms_transfer *rings[3] = {&http->active, &http->fed, &http->finished};
    for (int i = 0; i < 3; i++)
        while (rings[i]->next != rings[i]) {
            ms_transfer *t = rings[i]->next;
            if (t->is_conn)
                ms_conn_orphan((ms_conn *)t);
            else
                ms_call_free((ms_http_call *)t);
        }
    if (http->multi != NULL)
        curl_multi_cleanup(http->multi);
    while (http->socks != NULL)
        sock_free(http, http->socks);
    ms_timer_stop(&http->timer);
    ms_timer_stop(&http->later);
    ms_dial_free(http->dial);
    ms_endpoint_free(&http->ep);
    ms_free(http->url);
    ms_free(http->scratch);
    http->dead = true;
    if (!http->delivering)
        ms_free(http);
}

moonsand_loop *ms_http_loop(const ms_http *http)
{
    return http->loop;
}

const char *ms_http_host(const ms_http *http)
{
    return http->ep.kind == MS_TCP ? http->ep.host_port : "localhost";
}

char *ms_http_scratch(ms_http *http, size_t *size)
{
    *size = SCRATCH_SIZE;
    return http->scratch;
}
