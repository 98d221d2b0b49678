/* The harness for an agent with a fork server: one container, many runs. */
#ifndef AGENT_SERVER_H
#define AGENT_SERVER_H

#include "agent_harness.h"

typedef struct server_plan {
    const char *language, *interpreter; /* NULL: Python of this machine */
    const char *preload[8], *script, *env;
    uint64_t tier_lowest;
    bool net_shared, tmp_exec;
} server_plan;

typedef struct host {
    pid_t pid;
    int to, from;
    ms_agent_decoder *decoder;
    ms_buf out; /* not sent yet */
    size_t out_at;
    seen s; /* of the run under way, or of the last */
    unsigned readies, pongs;
    uint64_t tier, memory;
    char namespaces[64];
    bool retired, closed;
    char reason[32], message[256];
} host;

static int host_event(void *arg, const ms_agent_event *ev)
{
    host *h = arg;
    switch (ev->type) {
    case MS_F_READY:
        h->readies++;
        h->tier = ev->number;
        h->memory = ev->memory;
        snprintf(h->namespaces, sizeof h->namespaces, "%s", ev->namespaces);
        return 0;
    case MS_F_RETIRE:
        h->retired = true;
        snprintf(h->reason, sizeof h->reason, "%s", ev->reason);
        snprintf(h->message, sizeof h->message, "%s", ev->message);
        return 0;
    case MS_F_PONG:
        h->pongs++;
        return 0;
    default:
        return harness_event(&h->s, ev);
    }
}

static void host_send(host *h)
{
    while (h->out_at < h->out.len) {
        ssize_t n = write(h->to, h->out.data + h->out_at, h->out.len - h->out_at);
        if (n <= 0)
            break;
        h->out_at += (size_t)n;
    }
    if (h->out_at == h->out.len)
        h->out.len = h->out_at = 0;
}

/* Takes in what comes within so many milliseconds; false: that was the end of it. */
static bool host_turn(host *h, int ms)
{
    static char buf[1 << 17];
    host_send(h);
    struct pollfd f[2] = {{h->from, POLLIN, 0}, {h->out.len > 0 ? h->to : -1, POLLOUT, 0}};
    poll(f, 2, ms);
    if (f[0].revents == 0)
        return true;
    ssize_t n = read(h->from, buf, sizeof buf);
    if (n <= 0) {
        h->closed = true;
        return false;
    }
    if (h->s.result == 0)
        h->s.result = ms_agent_decoder_feed(h->decoder, buf, (size_t)n, host_event, h);
    return h->s.result == 0;
}

static void host_put_server(ms_buf *b, const server_plan *p)
{
    const char *env[] = {"PATH=/usr/bin:/bin", p->env};
    ms_agent_server s = {.language = p->language != NULL ? p->language : "python",
                         .interpreter = p->interpreter != NULL ? p->interpreter : "python3",
                         .env = env,
                         .envc = p->env != NULL ? 2 : 1,
                         .preload = p->preload,
                         .preload_script = p->script,
                         .tier_lowest = p->tier_lowest,
                         .tmp_bytes = 64 << 20,
                         .tmp_inodes = 4096,
                         .shm_bytes = 16 << 20,
                         .net_shared = p->net_shared,
                         .tmp_exec = p->tmp_exec};
    while (s.preload_count < 8 && p->preload[s.preload_count] != NULL)
        s.preload_count++;
    ms_agent_put_server(b, &s);
}

/* Waits until a run may come; false: none may. */
static bool host_open(host *h, const server_plan *p)
{
    memset(h, 0, sizeof *h);
    h->pid = harness_start(&h->to, &h->from);
    ms_agent_decoder_new(&h->decoder, NULL);
    ms_agent_decoder_serve(h->decoder);
    host_put_server(&h->out, p);
    double end = harness_now() + 20;
    while (h->readies == 0 && !h->s.failed && !h->closed && harness_now() < end)
        if (!host_turn(h, 100))
            break;
    return h->readies == 1;
}

/* Hangs up, and gives the agent's status as from wait(). */
static int host_close(host *h)
{
    int status = 0;
    close(h->to);
    double end = harness_now() + 5;
    while (!h->closed && harness_now() < end)
        (void)host_turn(h, 100);
    if (!h->closed)
        kill(h->pid, SIGKILL);
    waitpid(h->pid, &status, 0);
    close(h->from);
    ms_agent_decoder_free(h->decoder);
    ms_buf_free(&h->out);
    harness_forget(&h->s);
    return status;
}

/* The fields of a plan that make sense here; argv as it is. */
static void host_put_request(ms_buf *b, const plan *p, const char *file, const char *code)
{
    const char *env[] = {"PATH=/usr/bin:/bin", "HOME=/tmp", p->env};
    size_t argc = 0;
    while (argc < 8 && p->argv[argc] != NULL)
        argc++;
    ms_agent_request r = {.argv = p->argv, .argc = argc, .env = env, .envc = p->env ? 3 : 2};
    r.cwd = "/tmp/work";
    r.output_dir = "/tmp/out";
    r.value_file = "/tmp/result";
    r.wall_limit_ns = (p->wall_ms ? p->wall_ms : 20000) * 1000000;
    r.stdout_max = p->out_max ? p->out_max : 1 << 26;
    r.stderr_max = p->err_max ? p->err_max : 1 << 26;
    r.artefact_count_max = p->count_max ? p->count_max : 100;
    r.artefact_bytes_max = p->bytes_max ? p->bytes_max : 1 << 24;
    r.value_max = p->value_max ? p->value_max : 1 << 20;
    r.fsize = p->fsize;
    r.flags = p->flags | (p->input != NULL || p->input_open ? MS_FLAG_STDIN : 0);
    ms_agent_put_request(b, &r);
    if (code != NULL)
        ms_agent_put_file(b, file, 0644, code, strlen(code));
    ms_agent_put(b, p->kill_after_ms < 0 ? MS_F_KILL : MS_F_GO, NULL, 0);
}

/* One run, from REQUEST to READY or RETIRE. The result is valid until the next. With `code`, a file
 * main.py (or .lua) of it is put there. */
static seen *host_run(host *h, const plan *p, const char *file, const char *code)
{
    seen *s = &h->s;
    size_t sent = 0;
    bool eof = false, killed = false;
    double began = harness_now(), started = 0, final = 0;
    unsigned before = h->readies;
    harness_forget(s);
    host_put_request(&h->out, p, file, code);
    while (h->readies == before && !h->retired && !s->failed && !h->closed && s->result == 0) {
        double now = harness_now();
        if (s->started && started == 0.0)
            started = now;
        if (s->started && !s->finished)
            harness_input(p, s, &h->out, &sent, &eof);
        if (p->kill_after_ms > 0 && started > 0 && !killed &&
            (now - started) * 1000 >= p->kill_after_ms) {
            ms_agent_put(&h->out, MS_F_KILL, NULL, 0);
            killed = true;
        }
        if (!host_turn(h, 10))
            break;
        if (s->finished && final == 0.0)
            final = harness_now();
        if (harness_now() - began > 30) {
            s->hung = true;
            break;
        }
    }
    s->took = (final > 0 ? final : harness_now()) - began;
    return s;
}

/* Python code, as main.py. */
__attribute__((unused)) static seen *host_python(host *h, const char *code)
{
    plan p = {.argv = {"python3", "main.py"}};
    return host_run(h, &p, "main.py", code);
}

/* The ordinary end of a run: the next may come. Says what it was instead. */
static bool host_whole(const host *h)
{
    const seen *s = &h->s;
    bool good =
        !s->hung && s->result == 0 && s->finished && !s->failed && !h->retired && !h->closed;
    if (!good)
        diag("run: result %d started %d finished %d hung %d killed %u signal %d after %.3f s; "
             "failed %d '%s' '%s' errno %d; retired %d '%s' '%s'; closed %d",
             s->result, s->started, s->finished, s->hung, (unsigned int)s->final.killed,
             s->final.signal, s->took, s->failed, s->stage, s->message, s->errnum, h->retired,
             h->reason, h->message, h->closed);
    return good;
}

__attribute__((unused)) static bool is(const host *h, int code, const char *out)
{
    bool good = host_whole(h) && h->s.final.exit_code == code && h->s.out.data != NULL &&
                strcmp(h->s.out.data, out) == 0;
    if (!good)
        diag("exit %d signal %d stdout '%s' stderr '%s'", h->s.final.exit_code, h->s.final.signal,
             h->s.out.data ? h->s.out.data : "", h->s.err.data ? h->s.err.data : "");
    return good;
}

__attribute__((unused)) static bool has(const ms_buf *b, const char *text)
{
    bool good = b->data != NULL && strstr(b->data, text) != NULL;
    if (!good)
        diag("no '%s' in '%s'", text, b->data != NULL ? b->data : "");
    return good;
}

/* The first; from the container, as this test sees it. */
__attribute__((unused)) static pid_t child_of(pid_t pid)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%d", &child) != 1)
        child = 0;
    fclose(f);
    return child;
}

#endif
