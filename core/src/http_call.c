#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "error.h"
#include "http_impl.h"

#define DEFAULT_MAX_BODY (16u << 20)
#define UPLOAD_BUFFER (512L << 10)
#define FED_MAX (1u << 20) /* waits for on_data; then curl has to wait */

struct ms_http_call {
    ms_transfer t;
    bool delivering, post, posted, head_done;
    bool paused, held; /* sending, receiving */
    bool stalled;      /* curl waits until on_data has had what is there */
    bool *freed;       /* of a hand_over() that is under way */
    int body_fd;
    uint64_t sent;
    ssize_t (*on_read)(void *arg, char *p, size_t n, moonsand_error **err);
    void (*on_sent)(void *arg, uint64_t bytes);
    ms_watch body_watch;
    struct curl_slist *headers;
    char *body;
    ms_buf answer;
    size_t max_body;
    int (*on_data)(void *arg, const char *p, size_t n, moonsand_error **err);
    void (*on_done)(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err);
    void *arg;
};

void ms_call_free(ms_http_call *c)
{
    if (c->freed != NULL)
        *c->freed = true;
    ms_watch_stop(&c->body_watch);
    ms_transfer_end(&c->t);
    curl_slist_free_all(c->headers);
    ms_free(c->body);
    ms_buf_free(&c->answer);
    ms_free(c);
}

static int status_of(const ms_http_call *c)
{
    long status = 0;
    curl_easy_getinfo(c->t.easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

/* curl takes an answer that ends inside its headers for a whole one without a body. */
static size_t on_header(char *p, size_t size, size_t count, void *arg)
{
    ms_http_call *c = arg;
    c->head_done = count == 2 && p[0] == '\r' && p[1] == '\n';
    return size * count;
}

/* Such an answer is not collected. Yet on_data is not called from here, inside curl, where nothing
 * may be started, cancelled or freed. */
static bool is_streamed(const ms_http_call *c)
{
    return c->on_data != NULL && status_of(c) / 100 == 2;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    ms_http_call *c = arg;
    size_t n = size * count;
    if (c->held)
        return CURL_WRITEFUNC_PAUSE;
    if (is_streamed(c)) {
        if (c->answer.len >= FED_MAX) {
            c->stalled = true;
            return CURL_WRITEFUNC_PAUSE;
        }
        ms_ring_remove(&c->t);
        ms_ring_add(&c->t.http->fed, &c->t);
    } else if (n > c->max_body - c->answer.len) {
        ms_fail(&c->t.failure, MOONSAND_E_PROTOCOL, "the engine's answer is longer than %zu bytes",
                c->max_body);
        return CURL_WRITEFUNC_ERROR;
    }
    if (ms_buf_add(&c->answer, p, n) != 0) {
        ms_fail_nomem(&c->t.failure);
        return CURL_WRITEFUNC_ERROR;
    }
    return n;
}

/* curl sends a request once more when a kept connection turns out to be dead, also a POST, which
 * the engine may have acted on before it died. */
static int on_before_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    ms_http_call *c = arg;
    if (c->post && c->posted) {
        ms_fail(&c->t.failure, MOONSAND_E_IO,
                "%s: the connection broke after the request was sent; whether the engine acted on "
                "it is unknown",
                c->t.http->ep.url);
        return CURL_PREREQFUNC_ABORT;
    }
    c->posted = true;
    return CURL_PREREQFUNC_OK;
}

/* curl knows one word for both directions. */
static void set_pause(ms_http_call *c)
{
    curl_easy_pause(c->t.easy, (c->paused ? CURLPAUSE_SEND : 0) |
                                   (c->held || c->stalled ? CURLPAUSE_RECV : 0));
}

void ms_http_hold(ms_http_call *call, bool hold)
{
    if (call == NULL || call->held == hold)
        return;
    call->held = hold; /* takes effect with the next piece */
    if (!hold)
        set_pause(call);
}

void ms_http_resume(ms_http_call *call)
{
    if (call == NULL || !call->paused)
        return;
    call->paused = false;
    set_pause(call);
}

static void on_body_fd(void *arg, uint32_t events)
{
    (void)events;
    ms_http_call *c = arg;
    ms_watch_stop(&c->body_watch);
    ms_http_resume(c);
}

/* Regular files are read as they are; from a pipe or socket only what is there. */
static ssize_t read_fd(ms_http_call *c, char *p, size_t n)
{
    struct pollfd ready = {.fd = c->body_fd, .events = POLLIN};
    if (poll(&ready, 1, 0) == 0)
        return ms_watch_start(&c->body_watch, c->t.http->loop, c->body_fd, EPOLLIN, on_body_fd, c,
                              &c->t.failure) == 0
                   ? MS_HTTP_WAIT
                   : -1;
    ssize_t got;
    do
        got = read(c->body_fd, p, n);
    while (got < 0 && errno == EINTR);
    return got >= 0 ? got
                    : ms_fail_errno(&c->t.failure, errno, "cannot read the body of the request");
}

static size_t on_read(char *p, size_t size, size_t count, void *arg)
{
    ms_http_call *c = arg;
    size_t n = size * count;
    ssize_t got = c->on_read != NULL ? c->on_read(c->arg, p, n, &c->t.failure) : read_fd(c, p, n);
    if (got == MS_HTTP_WAIT) {
        c->paused = true;
        return CURL_READFUNC_PAUSE;
    }
    if (got < 0)
        return CURL_READFUNC_ABORT;
    c->sent += (uint64_t)got;
    if (c->on_sent != NULL && got > 0)
        c->on_sent(c->arg, c->sent);
    return (size_t)got;
}

static bool add_header(ms_http_call *c, const char *line)
{
    struct curl_slist *more = line != NULL ? curl_slist_append(c->headers, line) : NULL;
    if (more != NULL)
        c->headers = more;
    return more != NULL;
}

static bool add_headers(ms_http_call *c, const ms_http_request *req)
{
    bool ok = true;
    for (size_t i = 0; ok && i < req->header_count; i++) {
        /* "Name;" is how curl wants to be told of an empty value. */
        const moonsand_header *h = &req->headers[i];
        char *line = h->value[0] != '\0' ? ms_asprintf("%s: %s", h->name, h->value)
                                         : ms_asprintf("%s;", h->name);
        ok = add_header(c, line);
        ms_free(line);
    }
    return ok;
}

bool ms_http_plain(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s <= 0x20 || *s == 0x7f)
            return false;
    return true;
}

int ms_http_check_path(const char *path, moonsand_error **err)
{
    if (path != NULL && path[0] == '/' && ms_http_plain(path))
        return 0;
    return ms_fail(err, MOONSAND_E_INVALID,
                   "a path must start with \"/\" and have no spaces or control bytes; encode them");
}

static bool printable(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

/* Values can be credentials: no error repeats them. */
static int check_header(const moonsand_header *h, moonsand_error **err)
{
    static const char *const ours[] = {
        "Host",       "Content-Length", "Content-Type", "Transfer-Encoding",
        "Connection", "Expect",         "Upgrade",      "Trailer",
        "TE"};
    size_t n = h->name != NULL ? strlen(h->name) : 0;
    if (n == 0 || n > 128 ||
        strspn(h->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != n)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "the name of a header is letters, digits, \"-\" and \"_\"");
    for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
        if (strcasecmp(h->name, ours[i]) == 0)
            return ms_fail(err, MOONSAND_E_INVALID, "the header %s is not the caller's to set",
                           h->name);
    if (h->value == NULL || !printable(h->value))
        return ms_fail(err, MOONSAND_E_INVALID, "the value of the header %s has control bytes",
                       h->name);
    return 0;
}

static int check_request(const ms_http_request *req, moonsand_error **err)
{
    if (ms_http_check_path(req->path, err) != 0)
        return -1;
    size_t n = req->method != NULL ? strlen(req->method) : 0;
    if (n == 0 || n > 16 || strspn(req->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != n)
        return ms_fail(err, MOONSAND_E_INVALID, "a method is capital letters, as \"GET\"");
    if (req->content_type != NULL && !printable(req->content_type))
        return ms_fail(err, MOONSAND_E_INVALID, "a content type has no control bytes");
    for (size_t i = 0; i < req->header_count; i++)
        if (check_header(&req->headers[i], err) != 0)
            return -1;
    return 0;
}

static bool set_body(ms_http_call *c, const ms_http_request *req)
{
    CURL *e = c->t.easy;
    if (req->body == NULL && (req->body_fd >= 0 || req->on_read != NULL)) {
        c->body_fd = req->body_fd;
        c->on_read = req->body_fd < 0 ? req->on_read : NULL;
        c->on_sent = req->on_sent;
        /* Fewer, larger pieces; one such buffer a call that sends. */
        return MS_SET(e, UPLOAD, 1L) && MS_SET(e, UPLOAD_BUFFERSIZE, UPLOAD_BUFFER) &&
               MS_SET(e, READFUNCTION, on_read) && MS_SET(e, READDATA, c) &&
               MS_SET(e, CUSTOMREQUEST, req->method) &&
               (req->on_read != NULL && req->read_size != 0
                    ? MS_SET(e, INFILESIZE_LARGE, (curl_off_t)req->read_size)
                    : add_header(c, "Transfer-Encoding: chunked"));
    }
    if (req->body == NULL && !c->post) {
        if (strcmp(req->method, "HEAD") == 0)
            return MS_SET(e, NOBODY, 1L);
        return MS_SET(e, HTTPGET, 1L) && MS_SET(e, CUSTOMREQUEST, req->method);
    }
    size_t len = req->body != NULL ? req->body_len : 0;
    c->body = ms_strndup(req->body, len);
    return c->body != NULL && MS_SET(e, POST, 1L) &&
           MS_SET(e, POSTFIELDSIZE_LARGE, (curl_off_t)len) && MS_SET(e, POSTFIELDS, c->body) &&
           MS_SET(e, CUSTOMREQUEST, req->method);
}

static bool set_call(ms_http_call *c, const ms_http_request *req)
{
    CURL *e = c->t.easy;
    const char *type = req->content_type != NULL ? req->content_type : "application/json";
    bool has_body = req->body != NULL || req->body_fd >= 0 || req->on_read != NULL;
    char *line = ms_asprintf("Content-Type:%s%s", has_body ? " " : "", has_body ? type : "");
    c->post = strcmp(req->method, "POST") == 0;
    c->max_body = req->max_body != 0 ? req->max_body : DEFAULT_MAX_BODY;
    c->on_data = req->on_data;
    c->on_done = req->on_done;
    c->arg = req->arg;
    /* "Expect:": curl would wait for "100 Continue" before a body of more than 1 MiB.
     * REQUEST_TARGET: the path as it was given, which curl's URL parser would tidy up. */
    bool ok =
        add_header(c, line) && add_header(c, "Expect:") && add_headers(c, req) &&
        MS_SET(e, HTTPHEADER, c->headers) && MS_SET(e, USERAGENT, "moonsand/" MOONSAND_VERSION) &&
        MS_SET(e, REQUEST_TARGET, req->path) && MS_SET(e, HEADERFUNCTION, on_header) &&
        MS_SET(e, HEADERDATA, c) && MS_SET(e, WRITEFUNCTION, on_body) && MS_SET(e, WRITEDATA, c) &&
        MS_SET(e, PREREQFUNCTION, on_before_request) && MS_SET(e, PREREQDATA, c) &&
        MS_SET(e, BUFFERSIZE, req->on_data != NULL ? 256L << 10 : 32L << 10) && set_body(c, req) &&
        MS_SET(e, HTTPHEADER, c->headers);
    ms_free(line);
    return ok;
}

int ms_http_start(ms_http_call **out, ms_http *http, const ms_http_request *req,
                  moonsand_error **err)
{
    *out = NULL;
    if (check_request(req, err) != 0)
        return -1;
    ms_http_call *c = ms_calloc(1, sizeof(*c));
    if (c == NULL)
        return ms_fail_nomem(err);
    if (ms_transfer_init(&c->t, http, req->timeout_ns, err) != 0 ||
        (!set_call(c, req) && ms_fail_nomem(err) != 0) || ms_transfer_start(&c->t, err) != 0) {
        ms_call_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void ms_http_cancel(ms_http_call *call)
{
    if (call != NULL && !call->delivering)
        ms_call_free(call);
}

const char *ms_http_header(const ms_http_call *call, const char *name)
{
    struct curl_header *h;
    if (curl_easy_header(call->t.easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return NULL;
    return h->value;
}

/* False: the callback has freed the call. */
static bool hand_over(ms_http_call *c)
{
    bool freed = false;
    ms_buf piece = c->answer;
    c->answer = (ms_buf){0};
    c->freed = &freed;
    int rc = c->on_data(c->arg, piece.data, piece.len, &c->t.failure);
    ms_buf_free(&piece);
    if (freed)
        return false;
    c->freed = NULL;
    if (rc != 0)
        c->t.result = CURLE_WRITE_ERROR;
    return true;
}

void ms_call_hand_over(ms_http_call *c)
{
    if (!hand_over(c))
        return;
    if (c->t.result != CURLE_OK) {
        ms_call_deliver(c);
    } else if (c->stalled) {
        c->stalled = false;
        set_pause(c);
    }
}

void ms_call_deliver(ms_http_call *c)
{
    ms_transfer_take_off(&c->t);
    ms_watch_stop(&c->body_watch);
    if (is_streamed(c) && c->answer.len != 0) {
        if (!hand_over(c))
            return;
        if (c->t.http->dead) { /* freed by it; this call was on none of the lists */
            ms_call_free(c);
            return;
        }
    }
    int status = status_of(c);
    moonsand_error *err = NULL;
    if (c->t.result != CURLE_OK)
        err = ms_transfer_error(&c->t);
    else if (!c->head_done)
        ms_fail(&err, MOONSAND_E_IO, "%s: the engine's answer was cut off", c->t.http->ep.url);
    c->delivering = true;
    if (err != NULL)
        c->on_done(c->arg, c, 0, NULL, 0, err);
    else
        c->on_done(c->arg, c, status, c->answer.data != NULL ? c->answer.data : "", c->answer.len,
                   NULL);
    ms_call_free(c);
}
