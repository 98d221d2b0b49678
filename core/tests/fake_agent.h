/* An engine whose containers are a script: each attach is answered as an agent with a fork server
 * would, or as one would that is broken in the way that the test asks for. */
#ifndef FAKE_AGENT_H
#define FAKE_AGENT_H

#include "agent_frames.h"
#include "fake_server.h"

enum fake_way {
    FAKE_GOOD,
    FAKE_NO_FORK,       /* SERVER is refused; without SERVER it is good */
    FAKE_LESS,          /* a tier that was not asked for */
    FAKE_TALKS,         /* output without a run */
    FAKE_SILENT,        /* no PONG */
    FAKE_REFUSES,       /* RETIRE instead of STARTED */
    FAKE_RETIRES,       /* RETIRE after the run */
    FAKE_CHANGES,       /* another tier after the run */
    FAKE_GARBAGE,       /* bytes in a run that are no frame */
    FAKE_REPORTS,       /* a report in a run, and that some were dropped */
    FAKE_DROPPED,       /* only that */
    FAKE_DROPS_IDLE,    /* ends when it has become ready */
    FAKE_DROPS_ASKED,   /* ends when a run comes */
    FAKE_DROPS_RUNNING, /* ends when the program was started */
    FAKE_NO_CREATE      /* the engine cannot create it */
};

typedef struct fake_plan {
    enum fake_way ways[8]; /* of the first containers; the last one's goes on */
    size_t count;
    atomic_int created, attached, pings;
} fake_plan;

static inline enum fake_way fake_way_of(const fake_plan *p, int nth)
{
    return p->ways[(size_t)nth < p->count ? (size_t)nth : p->count - 1];
}

/* Frames of the agent, as the engine passes its stdout on. */
static inline bool fake_say(fake_conn *c, ms_buf *b)
{
    unsigned char head[8] = {1};
    ms_put_u32(head + 4, (uint32_t)b->len);
    bool sent = fake_send(c, head, sizeof head) && fake_send(c, b->data, b->len);
    ms_buf_free(b);
    return sent;
}

static inline void fake_ready(ms_buf *b, int tier)
{
    ms_buf f = {0};
    number(&f, MS_T_TIER, (uint64_t)tier);
    text(&f, MS_T_NAMESPACES, tier == MS_TIER_NAMESPACES ? "user,mnt,pid" : "");
    number(&f, MS_T_MEMORY, 1);
    fields(b, MS_F_READY, &f);
}

static inline void fake_retire(ms_buf *b, const char *reason)
{
    ms_buf f = {0};
    text(&f, MS_T_REASON, reason);
    text(&f, MS_T_MESSAGE, "as the test wants it");
    fields(b, MS_F_RETIRE, &f);
}

/* The next frame's type; its payload is of no interest. -1: the host hung up. */
static inline int fake_hear(fake_conn *c)
{
    unsigned char head[MS_PROTO_HEAD];
    char piece[256];
    if (!fake_read_all(c, head, sizeof head))
        return -1;
    for (size_t left = ms_get_u32(head + 4); left > 0;) {
        size_t n = left < sizeof piece ? left : sizeof piece;
        if (!fake_read_all(c, piece, n))
            return -1;
        left -= n;
    }
    return head[0];
}

static inline void fake_final(ms_buf *b, uint64_t dropped)
{
    static const int zero[] = {MS_T_EXIT_CODE,  MS_T_CPU_NS,       MS_T_KILLED,
                               MS_T_OOM_KILLS,  MS_T_MEMORY_PEAK,  MS_T_PIDS_REFUSED,
                               MS_T_STRAGGLERS, MS_T_STDOUT_BYTES, MS_T_STDERR_BYTES};
    ms_buf f = {0};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        number(&f, zero[i], 0);
    number(&f, MS_T_WALL_NS, 100);
    number(&f, MS_T_LANDLOCKED, 1);
    if (dropped > 0)
        number(&f, MS_T_REPORTS_DROPPED, dropped);
    fields(b, MS_F_FINAL, &f);
}

/* False: it ends. */
static inline bool fake_run(fake_conn *c, enum fake_way way, bool server)
{
    ms_buf b = {0};
    if (way == FAKE_DROPS_ASKED)
        return false;
    if (way == FAKE_REFUSES) {
        fake_retire(&b, "threads");
        return fake_say(c, &b);
    }
    started(&b);
    if (way == FAKE_GARBAGE)
        ms_buf_adds(&b, "not a frame at all");
    if (way == FAKE_DROPS_RUNNING || way == FAKE_GARBAGE)
        return fake_say(c, &b) && way == FAKE_GARBAGE;
    if (way == FAKE_REPORTS)
        frame(&b, MS_F_REPORT, "{\"step\":1}", 10);
    fake_final(&b, way == FAKE_REPORTS || way == FAKE_DROPPED ? 3 : 0);
    if (server && way == FAKE_RETIRES)
        fake_retire(&b, "tmp");
    else if (server)
        fake_ready(&b, way == FAKE_CHANGES ? MS_TIER_LANDLOCK : MS_TIER_NAMESPACES);
    return fake_say(c, &b) && server;
}

static inline void fake_agent(fake_conn *c, fake_plan *p, enum fake_way way)
{
    ms_buf b = {0};
    bool server = false, alive = true;
    hello(&b);
    alive = fake_say(c, &b);
    while (alive) {
        int type = fake_hear(c);
        if (type < 0)
            return;
        if (type == MS_F_SERVER && way == FAKE_NO_FORK) {
            failed(&b, "isolation", EPERM, "clone3: EPERM");
            (void)fake_say(c, &b);
            return;
        }
        if (type == MS_F_SERVER) {
            server = true;
            fake_ready(&b, way == FAKE_LESS ? MS_TIER_LANDLOCK : MS_TIER_NAMESPACES);
            alive = fake_say(c, &b) && way != FAKE_DROPS_IDLE;
            if (alive && way == FAKE_TALKS) {
                frame(&b, MS_F_STDOUT, "hello", 5);
                alive = fake_say(c, &b);
            }
        } else if (type == MS_F_PING) {
            atomic_fetch_add(&p->pings, 1);
            frame(&b, MS_F_PONG, NULL, 0);
            if (way == FAKE_SILENT)
                ms_buf_free(&b);
            else
                alive = fake_say(c, &b);
        } else if (type == MS_F_GO) {
            alive = fake_run(c, way, server);
        }
    }
}

static inline bool fake_answer(fake_conn *c, int status, const char *body)
{
    char head[256];
    (void)snprintf(head, sizeof head,
                   "HTTP/1.1 %d X\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   status, strlen(body));
    return fake_puts(c, head) && fake_puts(c, body);
}

static inline bool fake_skip_body(fake_conn *c)
{
    const char *at = strcasestr(c->head, "content-length:");
    char byte;
    for (long n = at ? strtol(at + 15, NULL, 10) : 0; n > 0; n--) {
        if (!fake_read_all(c, &byte, 1))
            return false;
    }
    return true;
}

static inline void fake_engine(fake_conn *c, void *arg)
{
    fake_plan *p = arg;
    while (fake_request(c) && fake_skip_body(c)) {
        const char *body = "{}";
        int status = 200;
        if (strstr(c->head, "/attach?")) {
            fake_puts(c, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
            fake_agent(c, p, fake_way_of(p, atomic_fetch_add(&p->attached, 1)));
            return;
        }
        if (strstr(c->head, "/version "))
            body =
                "{\"Version\":\"1\",\"Os\":\"linux\",\"Arch\":\"amd64\",\"KernelVersion\":\"1\"}";
        else if (strstr(c->head, "/info "))
            body = "{\"NCPU\":2,\"MemTotal\":4294967296,\"CgroupVersion\":\"1\"}";
        else if (strstr(c->head, "/networks "))
            body = "[]";
        else if (strstr(c->head, "/images/"))
            body = "{\"Id\":\"sha256:run\",\"Os\":\"linux\"}";
        else if (strstr(c->head, "/containers/create?")) {
            int nth = atomic_fetch_add(&p->created, 1);
            bool bad = fake_way_of(p, nth) == FAKE_NO_CREATE;
            status = bad ? 500 : 201;
            body = bad ? "{\"message\":\"no room\"}" : "{\"Id\":\"1\",\"Warnings\":[]}";
        } else if (strstr(c->head, "/json "))
            body = "{\"State\":{\"Running\":false,\"ExitCode\":1}}";
        else if (!strstr(c->head, "/_ping "))
            status = 204;
        if (!fake_answer(c, status, status == 204 ? "" : body))
            return;
    }
}

#endif
