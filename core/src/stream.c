#include "stream.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "answer.h"
#include "demux.h"
#include "error.h"

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
    ms_timer limit, more, drain;
    int64_t timeout_ns;
    const char *op;
    ms_buf request, queue;
    size_t request_pos, queue_pos;
    ms_answer answer;
    ms_demux demux;
};

static void destroy(ms_stream *s)
{
    ms_buf_free(&s->request);
    ms_answer_free(&s->answer);
    ms_buf_free(&s->queue);
    ms_free(s);
}

static void shut(ms_stream *s)
{
    s->state = ENDED;
    ms_watch_stop(&s->watch);
    ms_timer_stop(&s->limit);
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
    ms_timer_stop(&s->limit);
    ms_answer_free(&s->answer);
    ms_buf_free(&s->request);
    s->request_pos = 0;
    s->state = OPEN;
    if (s->events.on_open != NULL)
        s->events.on_open(s->events.arg);
    if (s->state == OPEN && flush(s))
        drained(s);
}

static void end_refused(ms_stream *s)
{
    moonsand_error *err = NULL;
    ms_answer_fail(&s->answer, s->op, &err);
    end(s, err);
}

static void feed_refusal(ms_stream *s, const char *p, size_t n)
{
    if (ms_answer_feed_body(&s->answer, p, n))
        end_refused(s);
}

static void feed_answer(ms_stream *s, const char *p, size_t n)
{
    moonsand_error *err = NULL;
    ssize_t used = ms_answer_feed_head(&s->answer, p, n, &err);
    if (used < 0) {
        ms_error_wrap(&err, "%s", s->op);
        end(s, err);
        return;
    }
    p += used;
    n -= (size_t)used;
    if (s->answer.status == 101 || s->answer.status == 200) {
        opened(s);
        if (s->state == OPEN)
            feed_frames(s, p, n);
    } else if (s->answer.status != 0) {
        s->state = REFUSED;
        feed_refusal(s, p, n);
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
        ms_timer_start(&s->limit, s->loop, timeout_ns, on_timeout, s);
    *out = s;
    return 0;
}

void ms_stream_set_events(ms_stream *s, const ms_stream_events *events)
{
    s->events = *events;
}
