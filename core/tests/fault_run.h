/* A run that uses everything that a run has, for each allocation of it to fail in turn: the create
 * call, attaching, self-check, files and stdin in, output, artefacts and value out, removal. No
 * leak, no hang, no wrong verdict, nothing left on the engine. */
#ifndef FAULT_RUN_H
#define FAULT_RUN_H

#include "fault_each.h"

#define PROGRAM                                                                                    \
    "import os, sys\n"                                                                             \
    "print(open('in.txt').read() + sys.stdin.read() + os.environ['WORD'])\n"                       \
    "print('oops', file=sys.stderr)\n"                                                             \
    "open(os.environ['MOONSAND_OUTPUT'] + '/curve.csv', 'w').write('1,2\\n')\n"                    \
    "open(os.environ['MOONSAND_RESULT'], 'w').write('[42]')\n"
#define WANT "file stdin word\n"

typedef struct rich {
    const char *url, *image;
    moonsand_mode mode;
    uint32_t workers;
    live v;
    int ends;
    char out[64]; /* handed over by on_output */
    size_t out_len;
} rich;

static inline void on_output(void *arg, int stream, const char *data, size_t len)
{
    rich *r = arg;
    if (stream == 1 && len <= sizeof r->out - r->out_len) {
        memcpy(r->out + r->out_len, data, len);
        r->out_len += len;
    }
}

static inline void on_done(void *arg, moonsand_run *run, const moonsand_result *result,
                           moonsand_error *err)
{
    rich *r = arg;
    r->ends++;
    live_on_done(&r->v, run, result, err);
}

static inline int start(rich *r)
{
    static const char *const argv[] = {"python3", "-c", PROGRAM}, *const env[] = {"WORD=word"};
    static const moonsand_file file = {"in.txt", "file ", 5, 0};
    moonsand_sandbox_options s = MOONSAND_SANDBOX_OPTIONS_INIT;
    s.image = r->image;
    s.mode = r->mode;
    s.workers = r->workers;
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 3;
    o.env = env;
    o.envc = 1;
    o.files = &file;
    o.file_count = 1;
    o.stdin_mode = MOONSAND_STDIN_STREAM;
    o.on_output = on_output;
    o.stream_stdout = true;
    o.on_done = on_done;
    o.arg = r;
    size_t taken = 0;
    if (moonsand_sandbox_new(&r->v.sandbox, r->v.engine, &s, &r->v.err) ||
        moonsand_run_start(&r->v.run, r->v.sandbox, &o, &r->v.err) ||
        moonsand_run_write(r->v.run, "stdin ", 6, &taken, &r->v.err))
        return -1;
    moonsand_run_close_stdin(r->v.run);
    return 0;
}

static inline bool is(const char *data, size_t len, const char *want)
{
    return data && len == strlen(want) && memcmp(data, want, len) == 0;
}

static inline const char *verdict(const rich *r)
{
    const moonsand_result *res = r->v.result;
    if (res->status != MOONSAND_S_OK)
        return moonsand_status_name(res->status);
    if (!is(r->out, r->out_len, WANT) || res->out.bytes != strlen(WANT) || res->out.truncated)
        return "ok with another stdout";
    if (!is(res->err.data, res->err.len, "oops\n") || res->err.truncated)
        return "ok with another stderr";
    if (!is(res->value, res->value_len, "[42]"))
        return "ok with another value";
    if (res->artefact_count != 1 || res->rejected_count != 0 ||
        strcmp(res->artefacts[0].path, "curve.csv") != 0 ||
        !is(res->artefacts[0].data, res->artefacts[0].len, "1,2\n"))
        return "ok with other artefacts";
    if (!res->isolation || !strstr(res->isolation, "\"self_check\":true") || !res->image ||
        !res->container)
        return "ok without its isolation, image or container";
    return NULL;
}

static inline const char *one_life(void *arg, bool whole)
{
    rich *r = arg;
    r->ends = 0;
    r->out_len = 0;
    bool started = live_open(&r->v, r->url) == 0 && start(r) == 0;
    if (started)
        live_drive(&r->v, &r->v.done, 60);
    const char *why = NULL;
    if (r->v.result && r->v.err)
        why = "a result and an error";
    else if (r->ends != (started ? 1 : 0))
        why = started ? "not told once" : "told before it was over";
    else if (r->v.result)
        why = verdict(r);
    else if (whole || moonsand_error_code(r->v.err) != MOONSAND_E_NOMEM)
        why = r->v.err ? moonsand_code_name(moonsand_error_code(r->v.err)) : "no result, no error";
    live_close(&r->v);
    return why;
}

/* The whole test on the engine that an environment variable names, with so many workers. */
static inline void fault_run(const char *name, const char *variable, moonsand_mode mode,
                             uint32_t workers)
{
    rich r = {.url = getenv(variable),
              .image = getenv("MOONSAND_TEST_IMAGE"),
              .mode = mode,
              .workers = workers};
    if (!r.url || !r.image) {
        skip("%s: no engine was given (%s)", name, variable);
        return;
    }
    bool second = strcmp(variable, "MOONSAND_TEST_PODMAN") == 0;
    fault_each(name, one_life, &r, 0, 0, second ? FAULT_SOME : FAULT_STEP);
    fault_nothing_left(name, r.url);
}

#endif
