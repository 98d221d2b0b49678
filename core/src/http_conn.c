#include <errno.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "error.h"
#include "http_impl.h"

#define GOODBYE_RETRY (5 * MS_MS)

struct ms_conn {
    ms_transfer t;
    void (*on_done)(void *arg, ms_conn *conn, moonsand_error *err);
    void *arg;
    ms_buf goodbye; /* TLS close_notify that did not fit yet */
    ms_timer goodbye_timer;
};

int ms_conn_open(ms_conn **out, ms_http *http, int64_t timeout_ns,
                 void (*on_done)(void *arg, ms_conn *conn, moonsand_error *err), void *arg,
                 moonsand_error **err)
{
    *out = NULL;
    ms_conn *c = ms_calloc(1, sizeof(*c));
    if (c == NULL)
        return ms_fail_nomem(err);
    c->t.is_conn = true;
    c->on_done = on_done;
    c->arg = arg;
    /* curl_easy_recv() returns no more than BUFFERSIZE at once, which is 16 KiB by default. */
    size_t most;
    (void)ms_http_scratch(http, &most);
    if (ms_transfer_init(&c->t, http, timeout_ns, err) != 0 ||
        ((curl_easy_setopt(c->t.easy, CURLOPT_CONNECT_ONLY, 1L) != CURLE_OK ||
          curl_easy_setopt(c->t.easy, CURLOPT_BUFFERSIZE, (long)most) != CURLE_OK) &&
         ms_fail_nomem(err) != 0) ||
        ms_transfer_start(&c->t, err) != 0) {
        ms_conn_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* CURLOPT_CONNECT_ONLY: "If the connect only transfer is done using the multi interface, the
 * particular easy handle must remain added to the multi handle for as long as the application wants
 * to use it." */
void ms_conn_deliver(ms_conn *c)
{
    void (*on_done)(void *, ms_conn *, moonsand_error *) = c->on_done;
    void *arg = c->arg;
    if (c->t.result == CURLE_OK) {
        ms_ring_add(&c->t.http->active, &c->t);
        on_done(arg, c, NULL);
        return;
    }
    moonsand_error *err = ms_transfer_error(&c->t);
    ms_conn_free(c);
    on_done(arg, NULL, err);
}

int ms_conn_fd(const ms_conn *conn)
{
    curl_socket_t fd = -1;
    if (conn->t.easy != NULL)
        curl_easy_getinfo(conn->t.easy, CURLINFO_ACTIVESOCKET, &fd);
    return fd;
}

static ssize_t conn_result(const ms_conn *conn, CURLcode code, size_t n, int otherwise)
{
    if (code == CURLE_OK)
        return (ssize_t)n;
    if (code == CURLE_AGAIN)
        return -EAGAIN;
    long e = 0;
    curl_easy_getinfo(conn->t.easy, CURLINFO_OS_ERRNO, &e);
    return e > 0 && e != EAGAIN ? -e : -otherwise;
}

ssize_t ms_conn_send(ms_conn *conn, const void *p, size_t n)
{
    size_t done = 0;
    if (conn->t.easy == NULL)
        return -EBADF;
    CURLcode rc = curl_easy_send(conn->t.easy, p, n, &done);
    return conn_result(conn, rc, done, EPIPE);
}

ssize_t ms_conn_recv(ms_conn *conn, void *p, size_t n)
{
    size_t done = 0;
    if (conn->t.easy == NULL)
        return -EBADF;
    CURLcode rc = curl_easy_recv(conn->t.easy, p, n, &done);
    return conn_result(conn, rc, done, ECONNRESET);
}

const char *ms_conn_note(ms_conn *conn)
{
    if (conn->t.http == NULL || conn->t.http->ep.kind != MS_SSH)
        return "";
    return ms_dial_note(conn->t.http->dial);
}

static void on_goodbye(void *arg)
{
    ms_conn *c = arg;
    ssize_t n = send(ms_conn_fd(c), c->goodbye.data, c->goodbye.len, MSG_NOSIGNAL);
    if (n > 0)
        ms_buf_drop(&c->goodbye, (size_t)n);
    if (c->goodbye.len != 0 && (n >= 0 || errno == EAGAIN || errno == EINTR))
        ms_timer_start(&c->goodbye_timer, c->t.http->loop, GOODBYE_RETRY, on_goodbye, c);
}

/* The alert goes through a memory BIO and our own send(2): curl's BIO may only be used from inside
 * curl, and a socket BIO could raise SIGPIPE. */
static bool tls_half_close(ms_conn *conn)
{
    struct curl_tlssessioninfo *info = NULL;
    if (curl_easy_getinfo(conn->t.easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || info == NULL ||
        info->backend != CURLSSLBACKEND_OPENSSL || info->internals == NULL)
        return false;
    SSL *ssl = info->internals;
    BIO *old = SSL_get_wbio(ssl), *memory = BIO_new(BIO_s_mem());
    if (memory == NULL || old == NULL || BIO_up_ref(old) != 1) {
        BIO_free(memory);
        return false;
    }
    BIO_up_ref(memory);
    SSL_set0_wbio(ssl, memory);
    SSL_shutdown(ssl);
    char *data = NULL;
    long len = BIO_get_mem_data(memory, &data);
    bool ok = len > 0 && ms_buf_add(&conn->goodbye, data, (size_t)len) == 0;
    SSL_set0_wbio(ssl, old);
    BIO_free(memory);
    if (ok)
        on_goodbye(conn);
    return ok;
}

void ms_conn_half_close(ms_conn *conn)
{
    if (conn->t.easy == NULL)
        return;
    const ms_endpoint *ep = &conn->t.http->ep;
    if (ep->kind == MS_TCP && ep->tls && tls_half_close(conn))
        return;
    shutdown(ms_conn_fd(conn), SHUT_WR);
}

void ms_conn_free(ms_conn *conn)
{
    if (conn == NULL)
        return;
    ms_timer_stop(&conn->goodbye_timer);
    ms_buf_free(&conn->goodbye);
    if (conn->t.http != NULL)
        ms_transfer_end(&conn->t);
    ms_free(conn);
}

void ms_conn_orphan(ms_conn *c)
{
    ms_timer_stop(&c->goodbye_timer);
    ms_transfer_end(&c->t);
    c->t.http = NULL;
}
