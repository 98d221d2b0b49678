/* Reports: lines of the program's, each a frame to the host. Read, bounded and counted here, so
 * that the host gets no more than it agreed to, whatever is written; what the lines say is the
 * host's business. They come out of a pipe like the program's output, and for the same reasons are
 * read and not spliced (pump.c). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

static bool fits(const struct reports *r, size_t n)
{
    return n <= MS_REPORT_MAX && r->sent < MS_REPORTS_MAX && r->bytes + n <= MS_REPORTS_BYTES_MAX;
}

/* One line, without its end. False: it made no frame. */
static bool take_line(struct agent *a, const unsigned char *line, size_t n)
{
    struct reports *r = &a->reports;
    if (r->skip || (n > 0 && !fits(r, n))) {
        r->skip = false;
        r->dropped++;
        return false;
    }
    if (n == 0)
        return false;
    frame_begin(a, MS_F_REPORT);
    memcpy(a->out.buf + a->out.len, line, n);
    a->out.len += n;
    frame_end(a);
    r->sent++;
    r->bytes += n;
    return true;
}

/* Of the whole lines that are there, the first that makes a frame. */
static bool next_line(struct agent *a)
{
    struct reports *r = &a->reports;
    while (r->more) {
        const unsigned char *line = r->buf + r->start, *end = memchr(line, '\n', r->len);
        if (end == NULL) {
            r->more = false;
            break;
        }
        size_t n = (size_t)(end - line);
        r->start += n + 1;
        r->len -= n + 1;
        if (take_line(a, line, n))
            return true;
    }
    /* Of a line that is too long nothing is kept but that it was there. */
    if (r->skip || r->len > MS_REPORT_MAX) {
        r->skip = true;
        r->len = 0;
    }
    memmove(r->buf, r->buf + r->start, r->len);
    r->start = 0;
    return false;
}

static bool last_line(struct agent *a)
{
    struct reports *r = &a->reports;
    size_t n = r->len;
    r->len = 0;
    return (n > 0 || r->skip) && take_line(a, r->buf + r->start, n);
}

bool pump_reports(struct agent *a, bool at_end)
{
    struct reports *r = &a->reports;
    for (;;) {
        if (next_line(a))
            return true;
        if (r->fd < 0)
            return last_line(a);
        ssize_t n = read(r->fd, r->buf + r->len, sizeof r->buf - r->len);
        if (n > 0) {
            r->len += (size_t)n;
            r->more = true;
            if (next_line(a))
                return true;
            if (!at_end)
                return false; /* others are to have their turn */
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN && !at_end)
            return false;
        close(r->fd);
        r->fd = -1;
    }
}

void reports_forget(struct agent *a)
{
    struct reports *r = &a->reports;
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->start = r->len = 0;
    r->more = r->skip = false;
    r->sent = r->bytes = r->dropped = 0;
}
