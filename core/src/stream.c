#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "demux.h"
#include "error.h"

#define HEAD_MAX 8192
#define REFUSAL_MAX 65536
/* How much one stream may read before others have their turn. */
#define READ_PER_STEP (1u << 20)
/* An empty queue larger than this is given back. */
#define QUEUE_KEEP (256u << 10)

typedef enum { CONNECTING, ASKING, REFUSED, OPEN, ENDED } state;

struct ms_stream {
    ms_http *http;
    ms_conn *conn;
    moonsand_loop *loop;
    ms_stream_events events;
    state state;
    bool inside, dead;           /* dead: freed from a callback; the memory goes when it returns */
    bool broken;                 /* the other side takes no more bytes; it may still send some */
    bool wrote;                  /* since the last on_drain */
    bool half_wanted, half_done; /* half close */
    ms_watch watch;
    ms_timer answer, more, drain;
    int64_t timeout_ns;
    const char *op;
    ms_buf request, head, refusal, queue;
    size_t request_pos, queue_pos;
    int status;
    bool chunked;
    int64_t body_len; /* -1: not said */
    ms_demux demux;
};

static void destroy(ms_stream *s)
{
    ms_buf_free(&s->request);
    ms_buf_free(&s->head);
    ms_buf_free(&s->refusal);
    ms_buf_free(&s->queue);
    ms_free(s);
}

static void shut(ms_stream *s)
{
    s->state = ENDED;
    ms_watch_stop(&s->watch);
    ms_timer_stop(&s->answer);
    ms_timer_stop(&s->more);
    ms_timer_stop(&s->drain);
    ms_conn_free(s->conn);
    s->conn = NULL;
    s->queue_pos = s->queue.len = 0;
}

void ms_stream_free(ms_stream *s)
{
    if (s == NULL)
        return;
    shut(s);
    s->dead = true;
    if (!s->inside)
        destroy(s);
}

/* Every way in from the loop goes through these two, so that a callback may free the stream. */
static void enter(ms_stream *s)
{
    s->inside = true;
}

static void leave(ms_stream *s)
{
    s->inside = false;
    if (s->dead)
        destroy(s);
}

static void end(ms_stream *s, moonsand_error *err)
{
    shut(s);
    if (s->events.on_end != NULL)
        s->events.on_end(s->events.arg, err);
    else
        moonsand_error_free(err);
}

/* The connection is gone, e says how (0: end of file), and there was no end of the stream. */
static void end_lost(ms_stream *s, int e)
{
    moonsand_error *err = NULL;
    const char *note = ms_conn_note(s->conn);
    if (s->state == ASKING && note[0] != '\0')
        ms_fail(&err, MOONSAND_E_CONNECT, "%s: %s", s->op, note);
    else if (e != 0)
        ms_fail_errno(&err, e, "%s: the connection to the engine broke", s->op);
    else if (s->state == ASKING)
        ms_fail(&err, MOONSAND_E_IO, "%s: the engine closed the connection without an answer",
                s->op);
    else
        ms_fail(&err, MOONSAND_E_IO, "%s: the stream ended in the middle of a frame", s->op);
    end(s, err);
}

/* ---- writing ---- */

static size_t pending(const ms_stream *s, const char **p)
{
    if (s->request_pos < s->request.len) {
        *p = s->request.data + s->request_pos;
        return s->request.len - s->request_pos;
    }
    if (s->state != OPEN || s->queue_pos == s->queue.len)
        return 0;
    *p = s->queue.data + s->queue_pos;
    return s->queue.len - s->queue_pos;
}

static void sent(ms_stream *s, size_t n)
{
    if (s->request_pos < s->request.len) {
        s->request_pos += n;
        return;
    }
    s->queue_pos += n;
    if (s->queue_pos == s->queue.len) {
        s->queue_pos = s->queue.len = 0;
        if (s->queue.cap > QUEUE_KEEP)
            ms_buf_free(&s->queue);
    } else if (s->queue_pos > QUEUE_KEEP && s->queue_pos > s->queue.len / 2) {
        ms_buf_drop(&s->queue, s->queue_pos);
        s->queue_pos = 0;
    }
}

/* Sends what can be sent; true when on_drain is due. A side that reads no more ends the writing
 * only: what it still sends, and why it ends, comes by reading. */
static bool flush(ms_stream *s)
{
    const char *p;
    size_t n;
    while (!s->broken && (n = pending(s, &p)) != 0) {
        ssize_t r = ms_conn_send(s->conn, p, n);
        if (r == -EAGAIN || r == 0)
            break;
        if (r > 0)
            sent(s, (size_t)r);
        else
            s->broken = true;
    }
    if (s->broken)
        s->queue_pos = s->queue.len = 0;
    bool waiting = !s->broken && pending(s, &p) != 0;
    ms_watch_set(&s->watch, waiting ? EPOLLIN | EPOLLOUT : EPOLLIN, NULL);
    if (s->state != OPEN || waiting)
        return false;
    if (s->half_wanted && !s->half_done) {
        s->half_done = true;
        ms_conn_half_close(s->conn);
    }
    bool due = s->wrote;
    s->wrote = false;
    return due;
}

static void drained(ms_stream *s)
{
    if (s->events.on_drain != NULL)
        s->events.on_drain(s->events.arg);
}

static void on_drain_timer(void *arg)
{
    ms_stream *s = arg;
    enter(s);
    if (s->queue_pos == s->queue.len)
        drained(s);
    leave(s);
}

int ms_stream_write(ms_stream *s, const void *p, size_t n, moonsand_error **err)
{
    if (s->state == ENDED || s->half_wanted)
        return ms_fail(err, MOONSAND_E_CLOSED, "%s: the stream takes no more bytes", s->op);
    if (n == 0)
        return 0;
    if (ms_buf_add(&s->queue, p, n) != 0)
        return ms_fail_nomem(err);
    s->wrote = true;
    if (s->state == OPEN && flush(s))
        ms_timer_start(&s->drain, s->loop, 0, on_drain_timer, s);
    return 0;
}

size_t ms_stream_queued(const ms_stream *s)
{
    return s->queue.len - s->queue_pos;
}

void ms_stream_half_close(ms_stream *s)
{
    if (s->state == ENDED || s->half_wanted)
        return;
    s->half_wanted = true;
    if (s->state == OPEN && flush(s))
        ms_timer_start(&s->drain, s->loop, 0, on_drain_timer, s);
}

/* ---- the answer's head ---- */

/* The value of a header in the head, up to its line's end, or NULL. name: with its colon. */
static const char *header(const ms_stream *s, const char *name)
{
    const char *p = s->head.data;
    while ((p = strstr(p, "\r\n")) != NULL) {
        p += 2;
        if (strncasecmp(p, name, strlen(name)) == 0)
            return p + strlen(name) + strspn(p + strlen(name), " \t");
    }
    return NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 101 ": the status, or -1. */
static int parse_status(const ms_buf *head)
{
    const char *p = head->data;
    if (head->len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || !is_digit(p[7]) || p[8] != ' ' ||
        !is_digit(p[9]) || !is_digit(p[10]) || !is_digit(p[11]) || is_digit(p[12]) ||
        strlen(p) != head->len)
        return -1;
    return (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
}

static void parse_framing(ms_stream *s)
{
    const char *coding = header(s, "transfer-encoding:");
    s->chunked = coding != NULL && strncasecmp(coding, "chunked", 7) == 0;
    const char *len = header(s, "content-length:");
    s->body_len = -1;
    if (len != NULL && is_digit(*len) && !s->chunked)
        s->body_len = strtoll(len, NULL, 10);
    if (s->status == 204 || s->status == 304)
        s->body_len = 0;
}

/* Takes bytes up to the head's end. Returns how many, or -1 when it is no head (err is set). */
static ssize_t feed_head(ms_stream *s, const char *p, size_t n, moonsand_error **err)
{
    size_t old = s->head.len;
    size_t take = n < HEAD_MAX - old ? n : HEAD_MAX - old;
    if (ms_buf_add(&s->head, p, take) != 0)
        return ms_fail_nomem(err);
    size_t from = old < 3 ? 0 : old - 3;
    const char *stop = memmem(s->head.data + from, s->head.len - from, "\r\n\r\n", 4);
    if (stop == NULL) {
        size_t known = s->head.len < 7 ? s->head.len : 7;
        if (s->head.len < HEAD_MAX && memcmp(s->head.data, "HTTP/1.", known) == 0)
            return (ssize_t)take;
        return ms_fail(err, MOONSAND_E_PROTOCOL,
                       "%s: the answer is not HTTP, or its head is longer "
                       "than %d bytes",
                       s->op, HEAD_MAX);
    }
    s->head.len = (size_t)(stop - s->head.data) + 4;
    s->head.data[s->head.len] = '\0';
    s->status = parse_status(&s->head);
    if (s->status < 100)
        return ms_fail(err, MOONSAND_E_PROTOCOL, "%s: the answer is not HTTP", s->op);
    return (ssize_t)(s->head.len - old);
}

/* ---- a refusal ---- */

/* The chunked coding of RFC 9112, section 7.1, in place, as far as it is there. True at its end. A
 * broken coding ends it too: what came so far is the message. */
static bool unchunk(const ms_buf *in, ms_buf *out)
{
    size_t pos = 0;
    for (;;) {
        const char *line = in->data + pos;
        const char *stop = memmem(line, in->len - pos, "\r\n", 2);
        if (stop == NULL)
            return false;
        char *rest;
        unsigned long long size = strtoull(line, &rest, 16);
        if (rest == line || rest > stop || size == 0 || size > REFUSAL_MAX)
            return true;
        pos = (size_t)(stop - in->data) + 2;
        size_t have = in->len - pos < size ? in->len - pos : (size_t)size;
        if (ms_buf_add(out, in->data + pos, have) != 0)
            return true;
        if (in->len - pos < size + 2)
            return false;
        pos += (size_t)size + 2;
    }
}

static void end_refused(ms_stream *s)
{
    moonsand_error *err = NULL;
    ms_buf plain = {0};
    const ms_buf *body = &s->refusal;
    if (s->chunked && body->len != 0) {
        unchunk(body, &plain);
        body = &plain;
    }
    ms_fail_http(&err, s->op, s->status, body->data, body->len);
    ms_buf_free(&plain);
    end(s, err);
}

/* A kept connection does not end, so the body's length has to be found out like in any answer.
 * Docker ends these with the connection, Podman says a length. */
static bool refusal_whole(const ms_stream *s)
{
    if (s->refusal.len >= REFUSAL_MAX)
        return true;
    if (s->body_len >= 0)
        return s->refusal.len >= (uint64_t)s->body_len;
    if (!s->chunked || s->refusal.len == 0)
        return false;
    ms_buf plain = {0};
    bool whole = unchunk(&s->refusal, &plain);
    ms_buf_free(&plain);
    return whole;
}

static void feed_refusal(ms_stream *s, const char *p, size_t n)
{
    size_t room = REFUSAL_MAX - s->refusal.len;
    if (s->body_len >= 0 && (uint64_t)s->body_len - s->refusal.len < room)
        room = (size_t)s->body_len - s->refusal.len;
    if (ms_buf_add(&s->refusal, p, n < room ? n : room) != 0 || refusal_whole(s))
        end_refused(s);
}

/* ---- reading ---- */

static int on_frame(void *arg, int stream, const char *p, size_t n)
{
    ms_stream *s = arg;
    if (s->events.on_data != NULL)
        s->events.on_data(s->events.arg, stream, p, n);
    return s->state != OPEN;
}

static void feed_frames(ms_stream *s, const char *p, size_t n)
{
    if (n == 0 || ms_demux_feed(&s->demux, p, n, on_frame, s) >= 0)
        return;
    moonsand_error *err = NULL;
    ms_fail(&err, MOONSAND_E_PROTOCOL,
            "%s: the engine's stream is not in frames (a terminal, or a proxy in between?)", s->op);
    end(s, err);
}

static void opened(ms_stream *s)
{
    ms_timer_stop(&s->answer);
    ms_buf_free(&s->head);
    ms_buf_free(&s->request);
    s->request_pos = 0;
    s->state = OPEN;
    if (s->events.on_open != NULL)
        s->events.on_open(s->events.arg);
    if (s->state == OPEN && flush(s))
        drained(s);
}

static void feed_answer(ms_stream *s, const char *p, size_t n)
{
    while (n != 0 && s->state == ASKING) {
        moonsand_error *err = NULL;
        ssize_t used = feed_head(s, p, n, &err);
        if (used < 0) {
            end(s, err);
            return;
        }
        p += used;
        n -= (size_t)used;
        if (s->status == 101 || s->status == 200) {
            opened(s);
            if (s->state == OPEN)
                feed_frames(s, p, n);
            return;
        }
        if (s->status >= 200) {
            s->state = REFUSED;
            parse_framing(s);
            feed_refusal(s, p, n);
        } else if (s->status != 0) { /* 100 Continue and the like: the answer follows */
            ms_buf_drop(&s->head, s->head.len);
            s->status = 0;
        }
    }
}

static void feed(ms_stream *s, const char *p, size_t n)
{
    if (s->state == OPEN)
        feed_frames(s, p, n);
    else if (s->state == REFUSED)
        feed_refusal(s, p, n);
    else
        feed_answer(s, p, n);
}

static void end_of_file(ms_stream *s)
{
    if (s->state == REFUSED)
        end_refused(s);
    else if (s->state == OPEN && ms_demux_idle(&s->demux))
        end(s, NULL);
    else
        end_lost(s, 0);
}

static void on_more(void *arg);

/* Until EAGAIN: TLS may hold bytes that the descriptor does not show. */
static void read_some(ms_stream *s)
{
    for (size_t total = 0; total < READ_PER_STEP;) {
        size_t size;
        char *buffer = ms_http_scratch(s->http, &size);
        ssize_t n = ms_conn_recv(s->conn, buffer, size);
        if (n == -EAGAIN || n == -EINTR)
            return;
        if (n < 0)
            end_lost(s, (int)-n);
        else if (n == 0)
            end_of_file(s);
        else
            feed(s, buffer, (size_t)n);
        if (s->state == ENDED)
            return;
        total += (size_t)n;
    }
    ms_timer_start(&s->more, s->loop, 0, on_more, s);
}

static void on_more(void *arg)
{
    ms_stream *s = arg;
    enter(s);
    read_some(s);
    leave(s);
}

static void on_event(void *arg, uint32_t events)
{
    ms_stream *s = arg;
    enter(s);
    if ((events & EPOLLOUT) != 0 && flush(s))
        drained(s);
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && s->state != ENDED)
        read_some(s);
    leave(s);
}

/* ---- opening ---- */

static void on_timeout(void *arg)
{
    ms_stream *s = arg;
    enter(s);
    if (s->state == REFUSED) {
        end_refused(s);
    } else {
        moonsand_error *err = NULL;
        ms_fail(&err, MOONSAND_E_TIMEOUT, "%s: the engine did not answer within %.3g s", s->op,
                (double)s->timeout_ns / (double)MS_S);
        end(s, err);
    }
    leave(s);
}

static void on_connected(void *arg, ms_conn *conn, moonsand_error *err)
{
    ms_stream *s = arg;
    enter(s);
    s->conn = conn;
    if (err == NULL &&
        ms_watch_start(&s->watch, s->loop, ms_conn_fd(conn), EPOLLIN, on_event, s, &err) == 0) {
        s->state = ASKING;
        flush(s);
    } else {
        end(s, err);
    }
    leave(s);
}

int ms_stream_open(ms_stream **out, ms_http *http, const char *path, int64_t timeout_ns,
                   const ms_stream_events *events, moonsand_error **err)
{
    *out = NULL;
    if (ms_http_check_path(path, err) != 0)
        return -1;
    ms_stream *s = ms_calloc(1, sizeof(*s));
    if (s == NULL)
        return ms_fail_nomem(err);
    s->http = http;
    s->loop = ms_http_loop(http);
    s->events = *events;
    s->op = strstr(path, "/exec/") != NULL ? "exec start" : "attach";
    s->timeout_ns = timeout_ns;
    /* Podman repeats what is asked for; without the two a proxy takes the answer for a plain one.
     */
    if (ms_buf_addf(
            &s->request,
            "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: moonsand/%s\r\nContent-Length: 0\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
            path, ms_http_host(http), MOONSAND_VERSION) != 0) {
        destroy(s);
        return ms_fail_nomem(err);
    }
    if (ms_conn_open(&s->conn, http, 0, on_connected, s, err) != 0) {
        destroy(s);
        return -1;
    }
    if (timeout_ns > 0)
        ms_timer_start(&s->answer, s->loop, timeout_ns, on_timeout, s);
    *out = s;
    return 0;
}

void ms_stream_set_events(ms_stream *s, const ms_stream_events *events)
{
    s->events = *events;
}
