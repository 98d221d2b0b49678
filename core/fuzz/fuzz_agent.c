/* The decoder of the agent's frames. The first byte says whether there is a fork server (its
 * highest bit) and how the rest is cut; however it is cut, the events have to be the same, and
 * every one has to keep what agent.h promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was seen, such that the cuts of raw payloads make no difference. */
struct seen {
    uint64_t hash;
    size_t events, reports; /* reports of this run */
    bool over, server;
};

static void demand(bool cond)
{
    if (!cond)
        abort();
}

static void mix(struct seen *s, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ b[i]) * 1099511628211u;
}

static void mix_text(struct seen *s, const char *text)
{
    if (text == NULL)
        return;
    demand(ms_text_ok(text, strlen(text)));
    mix(s, text, strlen(text) + 1);
}

static int on_event(void *arg, const ms_agent_event *ev)
{
    struct seen *s = arg;
    bool raw = ev->type == MS_F_STDOUT || ev->type == MS_F_STDERR || ev->type == MS_F_VALUE ||
               ev->type == MS_F_ARTEFACT_DATA;
    demand(!s->over && (s->events > 0 || ev->type == MS_F_HELLO));
    demand(ev->len == 0 || ev->data != NULL);
    s->events++;
    mix(s, ev->data, ev->len);
    if (raw)
        return 0;
    mix(s, &ev->type, sizeof ev->type);
    mix(s, &ev->number, sizeof ev->number);
    mix_text(s, ev->path);
    mix_text(s, ev->reason);
    mix_text(s, ev->stage);
    mix_text(s, ev->message);
    mix_text(s, ev->namespaces);
    if (ev->type == MS_F_REPORT)
        demand(ev->len > 0 && ev->len <= MS_REPORT_MAX && ++s->reports <= MS_REPORTS_MAX);
    if (ev->type == MS_F_STARTED)
        s->reports = 0;
    if (ev->type == MS_F_ARTEFACT)
        demand(ms_agent_path_ok(ev->path, strlen(ev->path)));
    if (ev->type == MS_F_REJECTED)
        demand(ev->path != NULL && ev->reason != NULL);
    if (ev->type == MS_F_FAILED)
        demand(ev->stage != NULL && ev->reason != NULL);
    if (ev->type == MS_F_FINAL)
        demand(ev->final != NULL && (ev->final->exit_code < 0 || ev->final->signal == 0));
    if (ev->type == MS_F_READY)
        demand(s->server && ev->number <= MS_TIER_NAMESPACES && ev->namespaces != NULL);
    if (ev->type == MS_F_RETIRE)
        demand(s->server && ev->reason != NULL && ev->message != NULL);
    s->over = ev->type == MS_F_FAILED || ev->type == MS_F_RETIRE ||
              (ev->type == MS_F_FINAL && !s->server);
    return 0;
}

static int decode(bool server, const uint8_t *data, size_t size, size_t step, struct seen *s)
{
    ms_agent_decoder *d = NULL;
    int r = 0;
    *s = (struct seen){.hash = 14695981039346656037u, .server = server};
    if (ms_agent_decoder_new(&d, NULL) < 0)
        return -2;
    if (server)
        ms_agent_decoder_serve(d);
    while (size > 0 && r == 0) {
        size_t n = size < step ? size : step;
        r = ms_agent_decoder_feed(d, (const char *)data, n, on_event, s);
        data += n;
        size -= n;
    }
    ms_agent_decoder_free(d);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct seen whole, pieces;
    bool server = (data[0] & 0x80) != 0;
    int a = decode(server, data + 1, size - 1, size, &whole);
    int b = decode(server, data + 1, size - 1, (size_t)(data[0] & 0x7f) + 1, &pieces);
    demand(a == b && whole.hash == pieces.hash && whole.over == pieces.over);
    (void)ms_agent_path_ok((const char *)data, size);
    return 0;
}
