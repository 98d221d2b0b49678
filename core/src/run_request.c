/* What a run asks of the agent. */
#include <string.h>

#include "error.h"
#include "run.h"

#define START_TIMEOUT (60 * MS_S) /* for the program to be started */

#define CWD "/tmp/work"
#define OUTPUT_DIR "/tmp/out"
#define VALUE_FILE "/tmp/result.json"
#define TEXT_OF(x) #x
#define REPORTS_FILE(fd) "/dev/fd/" TEXT_OF(fd)

/* "NAME=..." has the name of one of the caller's. */
static bool is_given(const moonsand_run *r, const char *entry)
{
    size_t n = strcspn(entry, "=") + 1;
    for (size_t i = 0; i < r->envc; i++) {
        if (strncmp(r->env[i], entry, n) == 0)
            return true;
    }
    return false;
}

/* The directory of our module, behind those that the caller names. */
static char *python_path(const moonsand_run *r)
{
    static const char name[] = "PYTHONPATH=";
    const char *given = "";
    for (size_t i = 0; i < r->envc; i++) {
        if (strncmp(r->env[i], name, sizeof name - 1) == 0)
            given = r->env[i] + sizeof name - 1;
    }
    return ms_asprintf("%s%s%s" MS_PYTHON_DIR_INSIDE, name, given, *given ? ":" : "");
}

static int put_request(const moonsand_run *r, ms_buf *out, moonsand_error **err)
{
    const ms_limits *l = &r->sandbox->limits;
    char *path = ms_asprintf("PATH=%s", r->box->path), *lang = ms_asprintf("LANG=%s", r->box->lang);
    char *python = python_path(r);
    const char **env = ms_calloc(r->envc + 8, sizeof *env);
    int rc = -1;
    if (path && lang && python && env) {
        const char *ours[] = {path,
                              lang,
                              "HOME=/tmp",
                              "TMPDIR=/tmp",
                              "MOONSAND_OUTPUT=" OUTPUT_DIR,
                              "MOONSAND_RESULT=" VALUE_FILE,
                              "MOONSAND_REPORTS=" REPORTS_FILE(MS_REPORTS_FD)};
        size_t n = 0, count = r->opt.on_report ? 7 : 6;
        env[n++] = python;
        for (size_t i = 0; i < r->envc; i++) {
            if (strncmp(r->env[i], python, strcspn(python, "=") + 1) != 0)
                env[n++] = r->env[i];
        }
        /* Of two entries with one name getenv() takes the first, and sh the last. */
        for (size_t i = 0; i < count; i++) {
            if (!is_given(r, ours[i]))
                env[n++] = ours[i];
        }
        ms_agent_request request = {
            .argv = (const char *const *)r->argv,
            .argc = r->argc,
            .env = env,
            .envc = n,
            .cwd = CWD,
            .output_dir = OUTPUT_DIR,
            .value_file = VALUE_FILE,
            .wall_limit_ns = r->wall_limit_ns,
            .stdout_max = l->stdout_bytes,
            .stderr_max = l->stderr_bytes,
            .artefact_count_max = l->artefact_count,
            .artefact_bytes_max = l->artefact_bytes,
            .value_max = l->value_bytes,
            .fsize = l->file_bytes,
            .flags = MS_FLAG_LANDLOCK |
                     (r->opt.stdin_mode != MOONSAND_STDIN_EMPTY ? MS_FLAG_STDIN : 0u) |
                     (r->opt.on_report ? MS_FLAG_REPORTS : 0u),
        };
        rc = ms_agent_put_request(out, &request) || ms_buf_add(out, r->files.data, r->files.len) ||
             ms_agent_put(out, MS_F_GO, NULL, 0);
    }
    ms_free(path);
    ms_free(lang);
    ms_free(python);
    ms_free((void *)env);
    return rc ? ms_fail_nomem(err) : 0;
}

void ms_run_take(moonsand_run *r)
{
    moonsand_error *err = NULL;
    ms_buf out = {0};
    ms_box_events events = ms_run_box_events;
    events.arg = r;
    r->phase = MS_ASKED;
    r->asked = ms_now_ns();
    r->box->state = MS_BOX_BUSY;
    if (r->worker)
        ms_box_set_events(r->box, &events);
    ms_timer_start(&r->deadline, r->engine->loop, START_TIMEOUT, ms_run_on_deadline, r);
    r->outcome.image = ms_strdup(r->box->image);
    r->outcome.container = ms_strdup(r->box->name);
    if (!r->outcome.image || !r->outcome.container)
        ms_fail_nomem(&err);
    else if (!put_request(r, &out, &err))
        ms_box_write(r->box, &out, &err);
    ms_buf_free(&out);
    if (err) {
        ms_error_op(&err, "run");
        ms_run_fail(r, err);
    }
}
