/* What an engine says to a request for an upgrade, in pieces, cut off, refusing and wrong. */
#include "fake_stream.h"

typedef struct script {
    const char *text;
    size_t len, split;
    bool keep; /* the connection stays open */
    atomic_int left;
} script;

static void serve_script(fake_conn *c, void *arg)
{
    script *k = arg;
    if (!fake_request(c))
        return;
    fake_send(c, k->text, k->split);
    if (k->split != k->len)
        usleep(300);
    fake_send(c, k->text + k->split, k->len - k->split);
    char byte;
    if (k->keep)
        while (fake_read(c, &byte, 1) > 0)
            ;
}

static void splits(void)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n"
                               "HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n"
                               "\1\0\0\0\0\0\0\2ab\2\0\0\0\0\0\0\1c\3\0\0\0\0\0\0\4oops";
    script k = {.text = text, .len = sizeof(text) - 1};
    up(false, serve_script, &k);
    int bad = -1;
    for (size_t i = 0; i <= k.len; i++) {
        seen v = {0};
        k.split = i;
        start(&v, 5 * MS_S);
        wait_for(&v.ended);
        if (v.err != NULL || v.opens != 1 || strcmp(out(&v, 1), "ab") != 0 ||
            strcmp(out(&v, 2), "c") != 0 || strcmp(out(&v, 3), "oops") != 0)
            bad = (int)i;
        forget(&v);
    }
    is_int(bad, -1, "an answer in two pieces, at each byte");
    k.split = k.len;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        seen v = {0};
        k.split = k.len = i;
        start(&v, 5 * MS_S);
        wait_for(&v.ended);
        bool between = i == 61 || i == 71 || i == 80; /* heads and frames end there */
        if ((v.err == NULL) != between || v.ends != 1)
            bad = (int)i;
        forget(&v);
    }
    is_int(bad, -1, "an answer cut at each byte");
    down();
}

static void refuse(const char *text, bool keep, const char *want, int status, const char *message)
{
    script k = {.text = text, .len = strlen(text), .split = strlen(text), .keep = keep};
    up(false, serve_script, &k);
    seen v = {0};
    int64_t t0 = ms_now_ns();
    start(&v, 2 * MS_S);
    wait_for(&v.ended);
    is_str(code(&v), want, "refused: %s", moonsand_error_message(v.err));
    is_int(moonsand_error_status(v.err), status, "its status");
    if (message != NULL)
        is_str(moonsand_error_message(v.err), message, "its text");
    ok(v.opens == 0 && v.ends == 1 && ms_now_ns() - t0 < MS_S, "at once, without opening");
    forget(&v);
    down();
}

static void refusals(void)
{
    refuse("HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
           "No such container: x\r\n",
           false, "not_found", 404, "attach: No such container: x");
    refuse("HTTP/1.1 409 Conflict\r\ncontent-length: 26\r\n\r\n{\"cause\":\"\",\"message\":\"no\"}",
           true, "conflict", 409, NULL);
    refuse("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", true, "engine", 500, NULL);
    refuse("HTTP/1.1 500 Oh\r\nTransfer-Encoding: "
           "chunked\r\n\r\n3\r\n{\"m\r\nd\r\nessage\":\"no\"}\r\n"
           "0\r\n\r\n",
           true, "engine", 500, "attach: no");
    refuse("HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", true, "engine", 500,
           NULL);
    refuse("HTTP/1.1 304 Not Modified\r\n\r\n", true, "engine", 304, NULL);
    refuse("HTTP/1.1 500 Oh\r\nContent-Length: 99999999999999999999\r\n\r\nabc", false, "engine",
           500, "attach: abc");
    refuse("SSH-2.0-OpenSSH_9.2\r\n", true, "protocol", 0, NULL);
    refuse("HTTP/1.1 abc\r\n\r\n", true, "protocol", 0, NULL);
    refuse("HTTP/1.1 1010\r\n\r\n", true, "protocol", 0, NULL);
    refuse("", false, "io", 0, NULL);
    static char much[90000];
    memset(much, 'a', sizeof(much) - 1);
    memcpy(much, "HTTP/1.1 101 x\r\nX: ", 19);
    refuse(much, true, "protocol", 0, NULL);
    memcpy(much, "HTTP/1.1 500 x\r\n\r\n", 18);
    refuse(much, true, "engine", 500, NULL);
}

static void not_frames(void)
{
    static const char text[] = OPENED "\1\0\0\0\0\0\0\2ab"
                                      "tty output";
    script k = {.text = text, .len = sizeof(text) - 1, .split = sizeof(text) - 1, .keep = true};
    up(false, serve_script, &k);
    seen v = {0};
    start(&v, 5 * MS_S);
    wait_for(&v.ended);
    is_str(code(&v), "protocol", "not frames: %s", moonsand_error_message(v.err));
    is_str(out(&v, 1), "ab", "what came before is delivered");
    forget(&v);
    down();
}

int main(void)
{
    moonsand_loop_new(&loop, NULL);
    int fds = open_fds();
    splits();
    refusals();
    not_frames();
    is_int(open_fds(), fds, "no descriptor leaked");
    moonsand_loop_free(loop);
    return done_testing();
}
