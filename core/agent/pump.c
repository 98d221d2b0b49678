/* Bytes between host and program. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

/* Read and written, not spliced: a length is promised to the host only for bytes that the agent
 * holds itself. The program can take its output out of the pipe again (/proc/self/fd/1), and it
 * decides how the bytes lie there, which splice() would carry on into the engine's pipe: of a
 * "packet", written with O_DIRECT, a reader whose buffer ends in the middle never gets the second
 * half. Then the next head would be looked for among the program's bytes. Here what is lost is lost
 * before it is counted.
 */
bool pump_output(struct agent *a, int stream)
{
    static const int reasons[] = {MS_KILLED_STDOUT, MS_KILLED_STDERR};
    if (a->pipe_fd[stream] < 0)
        return false;
    ssize_t n = read(a->pipe_fd[stream], a->out.buf + MS_PROTO_HEAD, OUT_SIZE);
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        close(a->pipe_fd[stream]);
        a->pipe_fd[stream] = -1;
        return false;
    }
    uint64_t room = a->request.out_max[stream] - a->sent[stream];
    size_t part = (uint64_t)n < room ? (size_t)n : (size_t)room;
    if (part > 0) {
        frame_begin(a, stream == 0 ? MS_F_STDOUT : MS_F_STDERR);
        a->out.len += part;
        frame_end(a);
    }
    a->sent[stream] += part;
    a->seen[stream] += (uint64_t)n;
    if (part < (size_t)n)
        kill_all(a, reasons[stream]);
    return true;
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
