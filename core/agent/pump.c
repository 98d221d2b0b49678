/* Bytes between host and program. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "inside.h"

#define SPLICE_WORTH 32768 /* below this copying is cheaper than two more system calls */

static void frame_of(struct agent *a, int stream, size_t n)
{
    frame_begin(a, stream == 0 ? MS_F_STDOUT : MS_F_STDERR);
    ms_put_u32(a->out.buf + 4, (uint32_t)n);
    a->out.at = a->out.buf;
    a->out.left = MS_PROTO_HEAD;
}

/* A program can open its own stdout pipe for reading (/proc/self/fd/1) and take bytes out again, so
 * how much is in there must not be promised to the host: move it into a pipe that only the agent
 * has, and promise what arrived. */
static ssize_t take(struct agent *a, int stream, size_t most)
{
    int fd = a->pipe_fd[stream], waiting = 0;
    if (a->out.can_splice && most >= SPLICE_WORTH && ioctl(fd, FIONREAD, &waiting) == 0 &&
        waiting >= SPLICE_WORTH) {
        ssize_t n =
            splice(fd, NULL, a->out.hold[1], NULL, most < MS_PROTO_MAX ? most : MS_PROTO_MAX,
                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n > 0) {
            frame_of(a, stream, (size_t)n);
            a->out.splice_left = (size_t)n;
            return n;
        }
        if (n == 0 || (errno != EINVAL && errno != ENOSYS && errno != EPERM))
            return n;
        a->out.can_splice = false;
    }
    ssize_t n = read(fd, a->out.buf + MS_PROTO_HEAD, most < COPY_SIZE ? most : COPY_SIZE);
    if (n > 0) {
        frame_of(a, stream, (size_t)n);
        a->out.left += (size_t)n;
    }
    return n;
}

bool pump_output(struct agent *a, int stream)
{
    static const int reasons[] = {MS_KILLED_STDOUT, MS_KILLED_STDERR};
    if (a->pipe_fd[stream] < 0)
        return false;
    uint64_t room = a->request.out_max[stream] - a->sent[stream];
    ssize_t n;
    if (room > 0) {
        n = take(a, stream, room < MS_PROTO_MAX ? (size_t)room : MS_PROTO_MAX);
        if (n > 0)
            a->sent[stream] += (uint64_t)n;
    } else {
        /* All that may go out went out; one more byte is too much. */
        n = read(a->pipe_fd[stream], a->out.buf, COPY_SIZE);
        if (n > 0)
            kill_all(a, reasons[stream]);
    }
    if (n > 0) {
        a->seen[stream] += (uint64_t)n;
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    close(a->pipe_fd[stream]);
    a->pipe_fd[stream] = -1;
    return false;
}

void feed_add(struct agent *a, const unsigned char *p, size_t n)
{
    struct feed *f = &a->feed;
    if (a->phase >= PH_END || (a->phase == PH_RUN && f->fd < 0)) {
        f->owed += n;
        return;
    }
    if (n > sizeof f->ring - f->len)
        bad_host(a, "more standard input than there is credit for");
    while (n > 0) {
        size_t to = (f->start + f->len) % sizeof f->ring;
        size_t part = sizeof f->ring - to < n ? sizeof f->ring - to : n;
        memcpy(f->ring + to, p, part);
        f->len += part;
        p += part;
        n -= part;
    }
}

static void feed_close(struct feed *f)
{
    close(f->fd);
    f->fd = -1;
    f->owed += f->len;
    f->len = 0;
}

/* Ends the program's input when there is no more to come. */
void feed_settle(struct agent *a)
{
    if (a->feed.fd >= 0 && a->feed.len == 0 && a->feed.eof)
        feed_close(&a->feed);
}

void pump_input(struct agent *a)
{
    struct feed *f = &a->feed;
    while (f->fd >= 0 && f->len > 0) {
        size_t part = sizeof f->ring - f->start < f->len ? sizeof f->ring - f->start : f->len;
        ssize_t n = write(f->fd, f->ring + f->start, part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            feed_close(f); /* EPIPE: the program does not want it, which is its right */
            break;
        }
        f->start = (f->start + (size_t)n) % sizeof f->ring;
        f->len -= (size_t)n;
        f->owed += (uint64_t)n;
    }
    feed_settle(a);
}
