/* What to do: the request, and the files that come with it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"

static void request_field(struct agent *a, const struct field *f, char **argv, char **env)
{
    struct request *r = &a->request;
    switch (f->tag) {
    case MS_T_ARGV:
        *argv = field_text(a, f);
        break;
    case MS_T_ENV:
        *env = field_text(a, f);
        break;
    case MS_T_CWD:
        r->cwd = field_path(a, f);
        break;
    case MS_T_OUTPUT_DIR:
        r->output_dir = field_path(a, f);
        break;
    case MS_T_VALUE_FILE:
        r->value_file = field_path(a, f);
        break;
    case MS_T_WALL_LIMIT_NS:
        r->wall_limit_ns = field_number(a, f);
        break;
    case MS_T_STDOUT_MAX:
        r->out_max[0] = field_number(a, f);
        break;
    case MS_T_STDERR_MAX:
        r->out_max[1] = field_number(a, f);
        break;
    case MS_T_ARTEFACT_COUNT_MAX:
        r->artefact_count_max = field_number(a, f);
        break;
    case MS_T_ARTEFACT_BYTES_MAX:
        r->artefact_bytes_max = field_number(a, f);
        break;
    case MS_T_VALUE_MAX:
        r->value_max = field_number(a, f);
        break;
    case MS_T_FLAGS:
        r->flags = field_number(a, f);
        break;
    case MS_T_FSIZE:
        r->fsize = field_number(a, f);
        break;
    default:
        bad_host(a, "a field of unknown kind in the request");
    }
}

void request_take(struct agent *a, unsigned char *p, size_t n)
{
    struct request *r = &a->request;
    size_t counts[MS_T_FSIZE + 1];
    fields_count(a, p, n, counts, MS_T_FSIZE + 1,
                 (uint64_t)1 << MS_T_ARGV | (uint64_t)1 << MS_T_ENV);
    memset(r, 0, sizeof *r);
    a->request_bytes = p;
    r->argv = calloc(counts[MS_T_ARGV] + 1, sizeof *r->argv);
    r->env = calloc(counts[MS_T_ENV] + 1, sizeof *r->env);
    if (r->argv == NULL || r->env == NULL)
        fail(a, "request", ENOMEM, "no memory for the request", NULL);
    struct fields fields;
    struct field f;
    fields_start(&fields, p, n);
    size_t argc = 0, envc = 0;
    while (fields_next(a, &fields, &f)) {
        request_field(a, &f, &r->argv[argc], &r->env[envc]);
        argc += f.tag == MS_T_ARGV;
        envc += f.tag == MS_T_ENV;
    }
    if (argc == 0 || r->argv[0][0] == 0)
        bad_host(a, "a request without a program");
    if (r->cwd == NULL)
        r->cwd = "/";
    a->cwd_fd = make_dirs(a, r->cwd);
    /* A fork server's run may begin elsewhere than in its /tmp, but nothing is put there. */
    if (a->cwd_fd < 0 && (a->server.pid == 0 || errno != EXDEV))
        fail(a, "request", errno, "cannot make or open the working directory", r->cwd);
    if (r->output_dir != NULL) {
        a->output_fd = make_dirs(a, r->output_dir);
        if (a->output_fd < 0)
            fail(a, "request", errno, "cannot make or open the output directory", r->output_dir);
    }
    if ((r->flags & MS_FLAG_LANDLOCK) != 0 && a->landlock_abi > 0 && a->server.pid == 0) {
        a->ruleset_fd = landlock_ruleset(a->landlock_abi);
        if (a->ruleset_fd < 0)
            fail(a, "landlock", errno, "cannot make the Landlock ruleset", NULL);
    }
}

/* Sizes are promised before the data, so that a file is complete exactly when its bytes are. */
static void file_close(struct agent *a)
{
    if (fchmod(a->file.fd, a->file.mode & 0777) < 0 || close(a->file.fd) < 0)
        fail(a, "file", errno, "cannot finish a file", NULL);
    a->file.fd = -1;
}

void file_take(struct agent *a, unsigned char *p, size_t n)
{
    struct fields fields;
    struct field f;
    char *path = NULL;
    size_t path_len = 0;
    unsigned int seen = 0;
    fields_start(&fields, p, n);
    while (fields_next(a, &fields, &f)) {
        unsigned int bit = f.tag == MS_T_PATH   ? 1
                           : f.tag == MS_T_MODE ? 2
                           : f.tag == MS_T_SIZE ? 4
                                                : 0;
        if (bit == 0 || (seen & bit) != 0)
            bad_host(a, "a field that is unknown or stands there twice");
        seen |= bit;
        if (bit == 1) {
            path = field_text(a, &f);
            path_len = f.len;
        } else if (bit == 2) {
            a->file.mode = (uint32_t)field_number(a, &f);
        } else {
            a->file.left = field_number(a, &f);
        }
    }
    if (seen != 7)
        bad_host(a, "a file without path, mode or size");
    if (!ms_proto_path_ok(path, path_len))
        fail(a, "file", EINVAL, "a file's path breaks the rules", path);
    if (a->cwd_fd < 0)
        fail(a, "file", EXDEV, "files can only be put below /tmp", path);

    char copy[MS_PATH_MAX + 1];
    memcpy(copy, path, path_len + 1);
    const char *last = NULL;
    int parent = open_parents(a->cwd_fd, copy, true, &last);
    if (parent >= 0)
        a->file.fd =
            openat(parent, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (a->file.fd < 0)
        fail(a, "file", errno, "cannot make a file", path);
    if (parent != a->cwd_fd)
        close(parent);
    if (a->file.left == 0)
        file_close(a);
}

void file_data(struct agent *a, const unsigned char *p, size_t n)
{
    if (a->file.fd < 0 || n > a->file.left)
        bad_host(a, "more data than the file was to have");
    while (n > 0) {
        ssize_t did = write(a->file.fd, p, n);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            fail(a, "file", did < 0 ? errno : EIO, "cannot write a file", NULL);
        p += did;
        n -= (size_t)did;
        a->file.left -= (uint64_t)did;
    }
    if (a->file.left == 0)
        file_close(a);
}
