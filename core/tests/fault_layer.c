/* Each allocation on the way to an image with the agent in it fails in turn: looking at the image,
 * the container that the agent is put in, the upload, the commit. The agent is another one in each
 * life, or the image would be found made already. */
#include <fcntl.h>
#include <unistd.h>

#include "fault_each.h"

typedef struct making {
    const char *url, *image;
    char path[64]; /* of the agent */
    size_t agent_len;
    unsigned life;
    long first, last; /* allocations before the sandbox, and until the container's creation */
} making;

/* The agent again, with a number behind its end. */
static bool another_agent(making *m)
{
    int fd = open(m->path, O_WRONLY | O_CLOEXEC);
    char tail[32];
    int n = snprintf(tail, sizeof tail, "%ld.%u", (long)getpid(), ++m->life);
    bool good = fd >= 0 && pwrite(fd, tail, (size_t)n, (off_t)m->agent_len) == n;
    if (fd >= 0)
        close(fd);
    return good;
}

static int open_engine(live *v, const making *m)
{
    moonsand_engine_options o = MOONSAND_ENGINE_OPTIONS_INIT;
    o.endpoint = m->url;
    o.agent_path = m->path;
    if (moonsand_loop_new(&v->loop, &v->err) ||
        moonsand_engine_open(&v->engine, v->loop, &o, live_on_engine, v, &v->err))
        return -1;
    return live_drive(v, &v->ready, 20) && !v->err ? 0 : -1;
}

/* Until the run is about to create its container: it has the image, and is given up. */
static const char *one_life(void *arg, bool whole)
{
    static const char *const argv[] = {"true"};
    making *m = arg;
    live v = {0};
    moonsand_sandbox_options s = MOONSAND_SANDBOX_OPTIONS_INIT;
    s.image = m->image;
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 1;
    o.on_done = live_on_done;
    o.arg = &v;
    bool ready = false;
    if (!another_agent(m))
        return "no agent";
    if (open_engine(&v, m) == 0) {
        if (whole)
            m->first = ms_fault_count();
        if (moonsand_sandbox_new(&v.sandbox, v.engine, &s, &v.err) == 0 &&
            moonsand_run_start(&v.run, v.sandbox, &o, &v.err) == 0) {
            int64_t end = ms_now_ns() + 60 * MS_S;
            while (!v.done && !ready && ms_now_ns() < end &&
                   (moonsand_loop_wait(v.loop, end - ms_now_ns(), NULL) == 0) &&
                   moonsand_loop_step(v.loop, NULL) == 0)
                ready = strcmp(moonsand_run_phase(v.run), "creating") == 0;
            if (whole)
                m->last = ms_fault_count();
        }
    }
    const char *why = NULL;
    if (!ready && (whole || moonsand_error_code(v.err) != MOONSAND_E_NOMEM))
        why = v.err ? moonsand_code_name(moonsand_error_code(v.err)) : "no image, no error";
    live_close(&v);
    return why;
}

/* Takes away the images that were not there before; returns what is there. */
static json_t *images(const making *m, json_t *before)
{
    live v = {0};
    json_t *now = json_object();
    json_t *list = live_open(&v, m->url) == 0 ? fault_call(&v, "GET", "/images/json") : NULL;
    size_t i, k;
    json_t *image, *tag;
    json_array_foreach(list, i, image)
    {
        json_array_foreach(json_object_get(image, "RepoTags"), k, tag)
        {
            const char *name = json_string_value(tag);
            if (!name || strncmp(name, "localhost/moonsand/run:", 23) != 0)
                continue;
            json_object_set_new(now, name, json_true());
            char path[300];
            snprintf(path, sizeof path, "/images/%s", name);
            if (before && !json_object_get(before, name))
                json_decref(fault_call(&v, "DELETE", path));
        }
    }
    json_decref(list);
    live_close(&v);
    return now;
}

static bool copy_agent(making *m)
{
    static char bytes[8 << 20];
    int from = open(MS_AGENT_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t n = from >= 0 ? read(from, bytes, sizeof bytes) : -1;
    if (from >= 0)
        close(from);
    snprintf(m->path, sizeof m->path, "/tmp/moonsand-agent-XXXXXX");
    int to = mkstemp(m->path);
    bool good = n > 0 && to >= 0 && write(to, bytes, (size_t)n) == n;
    if (to >= 0)
        close(to);
    m->agent_len = n > 0 ? (size_t)n : 0;
    return good;
}

int main(void)
{
    making m = {.url = getenv("MOONSAND_TEST_DOCKER"), .image = getenv("MOONSAND_TEST_IMAGE")};
    if (!m.url || !m.image) {
        skip("no engine was given (MOONSAND_TEST_DOCKER)");
        return done_testing();
    }
    ok(copy_agent(&m), "a copy of the agent");
    json_t *before = images(&m, NULL);
    ms_fault_set(-1);
    const char *why = one_life(&m, true);
    ok(!why && m.last - m.first > 20, "the agent's layer takes %ld allocations: %s",
       m.last - m.first, why ? why : "right");
    fault_each("layer", one_life, &m, m.first, m.last, FAULT_STEP);
    fault_nothing_left("layer", m.url);
    json_decref(images(&m, before));
    json_decref(before);
    unlink(m.path);
    return done_testing();
}
