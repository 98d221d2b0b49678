/* HTTP/1.1 to one engine. http.c is the only file that knows libcurl. */
#ifndef MS_HTTP_H
#define MS_HTTP_H

#include <sys/types.h>

#include "loop.h"
#include "mem.h"

/* Where to connect; filled in by endpoint.c. All strings owned. */
typedef struct ms_endpoint {
    char *url;      /* as the user would write it */
    char *found_by; /* "explicit", "DOCKER_CONTEXT", ... */
    enum { MS_UNIX, MS_TCP, MS_SSH } kind;
    char *unix_path; /* MS_UNIX */
    char *host_port; /* MS_TCP: "host:port" */
    bool tls, tls_verify;
    char *ca, *cert, *key; /* paths or NULL */
    /* MS_SSH: the argv of a program whose stdin and stdout are one connection to the engine, as
     * "ssh -T -- host docker system dial-stdio"; NULL-terminated */
    char **ssh_argv;
} ms_endpoint;
void ms_endpoint_free(ms_endpoint *ep); /* frees the strings and makes it empty */

typedef struct ms_http ms_http;
int ms_http_new(ms_http **out, moonsand_loop *loop, const ms_endpoint *ep /* copied */,
                moonsand_error **err);
/* Ends all calls without callbacks. Connections handed out must have been closed. */
void ms_http_free(ms_http *http);
moonsand_loop *ms_http_loop(const ms_http *http);
/* What the Host header of a request written by hand should say. */
const char *ms_http_host(const ms_http *http);
/* One buffer for all connections of this http, for the length of one read. */
char *ms_http_scratch(ms_http *http, size_t *size);
/* INVALID unless path starts with "/" and has no byte that would end or split a request's line. */
int ms_http_check_path(const char *path, moonsand_error **err);

/* on_read: nothing yet; ms_http_resume() when there is. */
#define MS_HTTP_WAIT (-2)

typedef struct ms_http_call ms_http_call;
typedef struct ms_http_request {
    const char *method, *path; /* path with version and query: "/v1.41/info" */
    const void *body;          /* copied; NULL none */
    size_t body_len;
    int body_fd; /* when body is NULL and body_fd >= 0: chunked upload; not closed */
    /* When body is NULL and body_fd < 0: up to n bytes of the body into p; 0 at its end,
     * MS_HTTP_WAIT, or -1 with *err set, which ends the call. From inside curl, as on_data. */
    ssize_t (*on_read)(void *arg, char *p, size_t n, moonsand_error **err);
    uint64_t read_size;       /* of the body that on_read gives; 0: unknown, sent in chunks */
    const char *content_type; /* NULL: application/json when there is a body */
    const moonsand_header *headers;
    size_t header_count;
    int64_t timeout_ns; /* whole call; 0 none */
    size_t max_body;    /* 0: 16 MiB; a longer answer is MOONSAND_E_PROTOCOL */
    /* Pieces of a 2xx body, not collected then; -1 with *err set ends the call. From a step, and
     * may do what on_done may. */
    int (*on_data)(void *arg, const char *p, size_t n, moonsand_error **err);
    /* So much of the body_fd or on_read was handed to the connection. From inside curl. */
    void (*on_sent)(void *arg, uint64_t bytes);
    /* Once, from a step. err is owned by the callee. headers: "api-version" etc. through
     * ms_http_header(call, name), while in the callback. The call is gone after it. */
    void (*on_done)(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err);
    void *arg;
} ms_http_request; /* initialise with {.body_fd = -1} */

int ms_http_start(ms_http_call **out, ms_http *http, const ms_http_request *req,
                  moonsand_error **err);
void ms_http_cancel(ms_http_call *call); /* no more callbacks. NULL is allowed */
/* Receives nothing more while hold is true; what came before is still handed over. */
void ms_http_hold(ms_http_call *call, bool hold);
void ms_http_resume(ms_http_call *call); /* not from on_read */
/* The value of an answer's header (any case of name), or NULL. Only inside on_done. */
const char *ms_http_header(const ms_http_call *call, const char *name);

/* A connection of one's own (TLS done, nothing sent): CURLOPT_CONNECT_ONLY. */
typedef struct ms_conn ms_conn;
/* on_done once from a step: conn is now usable, or err (owned by callee; conn is gone then). */
int ms_conn_open(ms_conn **out, ms_http *http, int64_t timeout_ns,
                 void (*on_done)(void *arg, ms_conn *conn, moonsand_error *err), void *arg,
                 moonsand_error **err);
int ms_conn_fd(const ms_conn *conn);
/* Like send/recv on a non-blocking socket: bytes, 0 at end of file (recv), or a negative errno
 * (-EAGAIN: poll the fd; TLS may keep bytes, so recv until -EAGAIN). */
ssize_t ms_conn_send(ms_conn *conn, const void *p, size_t n);
ssize_t ms_conn_recv(ms_conn *conn, void *p, size_t n);
/* What the program that is the connection (ssh) said on stderr; "" for nothing. */
const char *ms_conn_note(ms_conn *conn);
void ms_conn_half_close(ms_conn *conn); /* shutdown(SHUT_WR), or TLS close_notify */
void ms_conn_free(ms_conn *conn);       /* at any time, also before on_done. NULL is allowed */

#endif
