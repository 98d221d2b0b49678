/* Frames from the host: cut the stream, and hand each on to its subject. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

#define FILE_FIELDS_MAX 16384

void bad_host(struct agent *a, const char *message)
{
    if (a->phase == PH_REQUEST || a->phase == PH_FILES)
        fail(a, "request", EPROTO, message, NULL);
    die();
}

/* With a fork server the host may have sent input or KILL before it saw that the run had ended. */
static bool late(const struct agent *a)
{
    return a->server.served && (a->phase == PH_REQUEST || a->phase >= PH_REPORT);
}

/* Whether the host may send this now, and how long it may be. */
static void head_check(struct agent *a, int type, uint32_t len)
{
    uint32_t most = 0;
    bool in_order = true;
    switch (type) {
    case MS_F_CHECK:
        in_order = a->phase == PH_REQUEST && !a->probed;
        break;
    case MS_F_SERVER:
        in_order = a->phase == PH_REQUEST && a->server.pid == 0;
        most = MS_PROTO_MAX;
        break;
    case MS_F_PING:
        in_order = a->phase == PH_REQUEST;
        break;
    case MS_F_REQUEST:
        in_order = a->phase == PH_REQUEST;
        most = MS_PROTO_MAX;
        break;
    case MS_F_FILE:
        in_order = a->phase == PH_FILES && !a->go && a->file.fd < 0;
        most = FILE_FIELDS_MAX;
        break;
    case MS_F_FILE_DATA:
        in_order = a->phase == PH_FILES && !a->go && a->file.fd >= 0;
        most = MS_PROTO_MAX;
        break;
    case MS_F_GO:
        in_order = a->phase == PH_FILES && !a->go && a->file.fd < 0;
        break;
    case MS_F_STDIN:
        in_order = late(a) || ((a->go || a->phase >= PH_RUN) && !a->feed.eof &&
                               (a->request.flags & MS_FLAG_STDIN) != 0);
        most = MS_PROTO_STDIN_CREDIT;
        break;
    case MS_F_STDIN_EOF:
        in_order = late(a) || a->go || a->phase >= PH_RUN;
        break;
    case MS_F_KILL:
        in_order = late(a) || (a->phase != PH_REQUEST && a->phase != PH_SERVER);
        break;
    default:
        bad_host(a, "a frame of unknown type");
    }
    if (!in_order)
        bad_host(a, "a frame out of order");
    if (len > most)
        bad_host(a, "a frame that is too long");
}

static void payload(struct agent *a, const unsigned char *p, size_t n)
{
    struct in *in = &a->in;
    if (in->type == MS_F_STDIN && late(a))
        return;
    if (in->type == MS_F_STDIN)
        feed_add(a, p, n);
    else if (in->type == MS_F_FILE_DATA)
        file_data(a, p, n);
    else if (in->whole != NULL) {
        memcpy(in->whole + in->have, p, n);
        in->have += n;
    }
}

static void frame_over(struct agent *a)
{
    struct in *in = &a->in;
    int type = in->type;
    unsigned char *whole = in->whole;
    size_t have = in->have;
    in->type = 0;
    in->whole = NULL;
    in->have = 0;
    switch (type) {
    case MS_F_CHECK:
        a->probed = true;
        probe_send(a);
        break;
    case MS_F_SERVER:
        server_take(a, whole, have); /* keeps it likewise */
        break;
    case MS_F_PING:
        a->say_pong = true;
        break;
    case MS_F_REQUEST:
        request_take(a, whole, have); /* keeps it: argv and environment point into it */
        a->phase = PH_FILES;
        break;
    case MS_F_FILE:
        file_take(a, whole, have);
        free(whole);
        break;
    case MS_F_GO:
        a->go = true;
        break;
    case MS_F_STDIN_EOF:
        a->feed.eof = !late(a);
        break;
    case MS_F_KILL:
        a->kill_asked = !late(a);
        break;
    default:
        break;
    }
}

static void head(struct agent *a, const unsigned char *p)
{
    struct in *in = &a->in;
    if ((p[1] | p[2] | p[3]) != 0)
        bad_host(a, "a frame with a broken head");
    head_check(a, p[0], ms_get_u32(p + 4));
    in->type = p[0];
    in->left = ms_get_u32(p + 4);
    if (in->type == MS_F_REQUEST || in->type == MS_F_SERVER || in->type == MS_F_FILE) {
        in->whole = malloc((size_t)in->left + 1);
        if (in->whole == NULL)
            fail(a, "request", ENOMEM, "no memory for the request", NULL);
    }
}

static void parse(struct agent *a)
{
    struct in *in = &a->in;
    size_t at = 0;
    for (;;) {
        if (in->type == 0) {
            if (in->len - at < MS_PROTO_HEAD)
                break;
            head(a, in->buf + at);
            at += MS_PROTO_HEAD;
        }
        size_t n = in->len - at < in->left ? in->len - at : in->left;
        if (n > 0)
            payload(a, in->buf + at, n);
        at += n;
        in->left -= (uint32_t)n;
        if (in->left > 0)
            break;
        frame_over(a);
    }
    in->len -= at;
    memmove(in->buf, in->buf + at, in->len);
}

void in_read(struct agent *a)
{
    struct in *in = &a->in;
    ssize_t n = read(STDIN_FILENO, in->buf + in->len, sizeof in->buf - in->len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0)
        die();
    if (a->phase == PH_DEAF) {
        /* Late STDIN, or KILL when all are dead already. */
        in->len = 0;
        return;
    }
    in->len += (size_t)n;
    parse(a);
}
