/* An engine's stand-in: listens on a unix socket or a TLS port, gives each connection a thread that
 * runs the test's script. TAP lines belong to the main thread only. */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "loop.h"

#define FAKE_CONNS 4096

typedef struct fake fake;
typedef struct fake_conn {
    fake *server;
    int fd, nth; /* nth: from 0 */
    SSL *ssl;
    pthread_t thread;
    char head[16384]; /* the last request's head */
} fake_conn;

struct fake {
    char dir[64], path[96], host_port[32];
    char cert[96], key[96];
    int fd;
    SSL_CTX *tls;
    pthread_t thread;
    void (*serve)(fake_conn *c, void *arg);
    void *arg;
    atomic_int count, requests;
    pthread_mutex_t lock;
    fake_conn *conns[FAKE_CONNS];
};

static inline ssize_t fake_read(fake_conn *c, void *p, size_t n)
{
    return c->ssl != NULL ? SSL_read(c->ssl, p, (int)n) : recv(c->fd, p, n, 0);
}

static inline bool fake_read_all(fake_conn *c, void *p, size_t n)
{
    for (char *at = p; n != 0;) {
        ssize_t r = fake_read(c, at, n);
        if (r <= 0)
            return false;
        at += r;
        n -= (size_t)r;
    }
    return true;
}

static inline bool fake_send(fake_conn *c, const void *p, size_t n)
{
    for (const char *at = p; n != 0;) {
        ssize_t r =
            c->ssl != NULL ? SSL_write(c->ssl, at, (int)n) : send(c->fd, at, n, MSG_NOSIGNAL);
        if (r <= 0)
            return false;
        at += r;
        n -= (size_t)r;
    }
    return true;
}

static inline bool fake_puts(fake_conn *c, const char *s)
{
    return fake_send(c, s, strlen(s));
}

/* Reads a request's head byte by byte, so that what follows it stays. False: end of file. */
static inline bool fake_request(fake_conn *c)
{
    size_t n = 0;
    while (n < sizeof(c->head) - 1 && fake_read(c, c->head + n, 1) == 1) {
        c->head[++n] = '\0';
        if (n >= 4 && memcmp(c->head + n - 4, "\r\n\r\n", 4) == 0) {
            atomic_fetch_add(&c->server->requests, 1);
            return true;
        }
    }
    return false;
}

/* No more output: FIN, or close_notify and FIN. */
static inline void fake_end_output(fake_conn *c)
{
    if (c->ssl != NULL)
        SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
}

static inline void *fake_conn_main(void *arg)
{
    /* SSL_write() knows no MSG_NOSIGNAL. In this thread only: what is tested must not need it. */
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
    fake_conn *c = arg;
    if (c->ssl == NULL || SSL_accept(c->ssl) == 1) {
        c->server->serve(c, c->server->arg);
        if (c->ssl != NULL)
            SSL_shutdown(c->ssl);
    }
    pthread_mutex_lock(&c->server->lock);
    close(c->fd);
    c->fd = -1;
    pthread_mutex_unlock(&c->server->lock);
    return NULL;
}

static inline void *fake_main(void *arg)
{
    fake *f = arg;
    /* For this thread and those of the connections: SSL_write() knows no MSG_NOSIGNAL. */
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    for (;;) {
        int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        fake_conn *c = calloc(1, sizeof(*c));
        c->server = f;
        c->fd = fd;
        pthread_mutex_lock(&f->lock);
        c->nth = atomic_fetch_add(&f->count, 1);
        if (c->nth >= FAKE_CONNS)
            abort();
        f->conns[c->nth] = c;
        if (f->tls != NULL) {
            c->ssl = SSL_new(f->tls);
            SSL_set_fd(c->ssl, fd);
        }
        pthread_create(&c->thread, NULL, fake_conn_main, c);
        pthread_mutex_unlock(&f->lock);
    }
}

/* A certificate that is authority, server and client in one. */
static inline void fake_certificate(fake *f)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"fake", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    static const struct {
        int nid;
        const char *value;
    } ext[] = {{NID_basic_constraints, "critical,CA:TRUE"}, {NID_subject_alt_name, "IP:127.0.0.1"}};
    for (int i = 0; i < 2; i++) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, ext[i].nid, ext[i].value);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    X509_sign(x, key, EVP_sha256());
    snprintf(f->cert, sizeof(f->cert), "%s/cert.pem", f->dir);
    snprintf(f->key, sizeof(f->key), "%s/key.pem", f->dir);
    FILE *file = fopen(f->cert, "we");
    PEM_write_X509(file, x);
    fclose(file);
    file = fopen(f->key, "we");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(x);
    EVP_PKEY_free(key);
}

static inline void fake_start(fake *f, bool tls, void (*serve)(fake_conn *c, void *arg), void *arg)
{
    memset(f, 0, sizeof(*f));
    pthread_mutex_init(&f->lock, NULL);
    f->serve = serve;
    f->arg = arg;
    snprintf(f->dir, sizeof(f->dir), "/tmp/moonsand-test-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        abort();
    snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    memcpy(u.sun_path, f->path, strlen(f->path) + 1);
    f->fd = socket(tls ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->fd, tls ? (struct sockaddr *)&in : (struct sockaddr *)&u,
             tls ? sizeof(in) : sizeof(u)) != 0 ||
        listen(f->fd, 100) != 0)
        abort();
    if (tls) {
        getsockname(f->fd, (struct sockaddr *)&in, &len);
        snprintf(f->host_port, sizeof(f->host_port), "127.0.0.1:%d", ntohs(in.sin_port));
        fake_certificate(f);
        f->tls = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_file(f->tls, f->cert, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file(f->tls, f->key, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_load_verify_file(f->tls, f->cert) != 1)
            abort();
        SSL_CTX_set_verify(f->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    pthread_create(&f->thread, NULL, fake_main, f);
}

static inline void fake_stop(fake *f)
{
    shutdown(f->fd, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->fd);
    for (int i = 0; i < atomic_load(&f->count); i++) {
        fake_conn *c = f->conns[i];
        pthread_mutex_lock(&f->lock);
        if (c->fd >= 0)
            shutdown(c->fd, SHUT_RDWR);
        pthread_mutex_unlock(&f->lock);
        pthread_join(c->thread, NULL);
        SSL_free(c->ssl);
        free(c);
    }
    SSL_CTX_free(f->tls);
    unlink(f->path);
    unlink(f->cert);
    unlink(f->key);
    rmdir(f->dir);
    pthread_mutex_destroy(&f->lock);
}

/* Drives the loop until *flag or for so long. */
static inline bool fake_drive(moonsand_loop *loop, const bool *flag, int64_t ns)
{
    int64_t end = ms_now_ns() + ns;
    while (!*flag && ms_now_ns() < end) {
        moonsand_loop_wait(loop, end - ms_now_ns(), NULL);
        moonsand_loop_step(loop, NULL);
    }
    return *flag;
}

/* A program whose stdin and stdout are a connection to path, as `docker system dial-stdio`. */
static inline int fake_dial_stdio(const char *path)
{
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(u.sun_path))
        return 2;
    memcpy(u.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&u, sizeof(u)) != 0) {
        fprintf(stderr, "warming up\nno daemon\there: %s\n", strerror(errno));
        return 1;
    }
    char buf[65536];
    fd_set set;
    bool in = true;
    for (;;) {
        FD_ZERO(&set);
        FD_SET(fd, &set);
        if (in)
            FD_SET(0, &set);
        if (select(fd + 1, &set, NULL, NULL, NULL) < 0)
            return 1;
        for (int i = 0; i < 2; i++) {
            int from = i == 0 ? fd : 0, to = i == 0 ? 1 : fd;
            if (!FD_ISSET(from, &set))
                continue;
            ssize_t n = read(from, buf, sizeof(buf));
            if (n <= 0 && i == 0)
                return 0;
            if (n <= 0) {
                shutdown(fd, SHUT_WR);
                in = false;
            }
            for (ssize_t done = 0; done < n;) {
                ssize_t r = write(to, buf + done, (size_t)(n - done));
                if (r < 0)
                    return 1;
                done += r;
            }
        }
    }
}

#endif
