/* Frames to the host. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

#define REST_MS 1

bool out_idle(const struct agent *a)
{
    return a->out.left == 0 && a->out.next_left == 0;
}

void frame_begin(struct agent *a, int type)
{
    memset(a->out.buf, 0, MS_PROTO_HEAD);
    a->out.buf[0] = (unsigned char)type;
    a->out.len = MS_PROTO_HEAD;
}

void frame_bytes(struct agent *a, int tag, const void *p, size_t n)
{
    struct out *o = &a->out;
    if (n > sizeof o->buf - 5 - o->len)
        n = sizeof o->buf - 5 - o->len;
    o->buf[o->len] = (unsigned char)tag;
    ms_put_u32(o->buf + o->len + 1, (uint32_t)n);
    if (n > 0)
        memcpy(o->buf + o->len + 5, p, n);
    o->len += 5 + n;
}

void frame_text(struct agent *a, int tag, const char *text)
{
    frame_bytes(a, tag, text, strlen(text));
}

void frame_path(struct agent *a, int tag, const char *path)
{
    unsigned char clean[MS_PATH_MAX];
    const unsigned char *p = (const unsigned char *)path;
    size_t n = strlen(path), used = 0;
    while (n > 0 && used < sizeof clean) {
        size_t step = ms_utf8_step(p, n);
        if (step > sizeof clean - used)
            break;
        if (step > 0)
            memcpy(clean + used, p, step);
        else
            clean[used] = '?';
        used += step > 0 ? step : 1;
        p += step > 0 ? step : 1;
        n -= step > 0 ? step : 1;
    }
    frame_bytes(a, tag, clean, used);
}

void frame_number(struct agent *a, int tag, uint64_t v)
{
    unsigned char b[8];
    ms_put_u64(b, v);
    frame_bytes(a, tag, b, sizeof b);
}

void frame_end(struct agent *a)
{
    ms_put_u32(a->out.buf + 4, (uint32_t)(a->out.len - MS_PROTO_HEAD));
    a->out.at = a->out.buf;
    a->out.left = a->out.len;
}

void frame_raw(struct agent *a, int type, const void *p, size_t n)
{
    frame_begin(a, type);
    ms_put_u32(a->out.buf + 4, (uint32_t)n);
    a->out.at = a->out.buf;
    a->out.left = MS_PROTO_HEAD;
    a->out.next = p;
    a->out.next_left = n;
    out_flush(a);
}

void out_push(struct agent *a)
{
    struct out *o = &a->out;
    bool moved = false;
    o->rest = false;
    while (o->left > 0 || o->next_left > 0) {
        if (o->left == 0) {
            o->at = o->next;
            o->left = o->next_left;
            o->next_left = 0;
        }
        ssize_t n = write(STDOUT_FILENO, o->at, o->left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            o->rest = moved && o->deep;
            return;
        }
        if (n <= 0)
            die();
        moved = true;
        o->at += n;
        o->left -= (size_t)n;
    }
}

/* A full pipe is writable again as soon as the engine took one small piece out. To be woken up for
 * each of them costs all who take part more than the bytes do, so look again when there is room for
 * many. Only an engine that took nothing meanwhile is waited for. */
int out_wait(const struct agent *a, int *fd)
{
    *fd = out_idle(a) || a->out.rest ? -1 : STDOUT_FILENO;
    return a->out.rest ? REST_MS : -1;
}

void out_flush(struct agent *a)
{
    for (;;) {
        out_push(a);
        if (out_idle(a))
            return;
        struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, POLLOUT, 0}};
        int wait_ms = out_wait(a, &fds[1].fd);
        if (poll(fds, 2, wait_ms) < 0) {
            if (errno == EINTR)
                continue;
            die();
        }
        if (fds[0].revents != 0)
            in_read(a);
    }
}

void fail(struct agent *a, const char *stage, int err, const char *message, const char *what)
{
    /* What comes in from here on is thrown away. */
    a->phase = PH_DEAF;
    out_flush(a);
    char text[1024];
    size_t n = strlen(message);
    if (n > 200)
        n = 200;
    memcpy(text, message, n);
    if (what != NULL) {
        size_t more = strlen(what);
        if (more > sizeof text - n - 3)
            more = sizeof text - n - 3;
        text[n++] = ':';
        text[n++] = ' ';
        memcpy(text + n, what, more);
        n += more;
    }
    text[n] = 0;
    frame_begin(a, MS_F_FAILED);
    frame_text(a, MS_T_STAGE, stage);
    frame_number(a, MS_T_ERRNO, (uint64_t)(unsigned int)err);
    frame_path(a, MS_T_MESSAGE, text);
    frame_end(a);
    out_flush(a);
    _exit(0);
}
