/* What to do: the request, and the files that come with it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"

/* Walks over fields in place. The byte after a value becomes its NUL: it is the next field's tag,
 * which has been read by then, or the spare byte behind the payload. */
struct fields {
    unsigned char *p, *end;
    unsigned char tag; /* of the next field */
};

struct field {
    int tag;
    char *text;
    size_t len;
};

static void fields_start(struct fields *f, unsigned char *p, size_t n)
{
    f->p = p;
    f->end = p + n;
    f->tag = n > 0 ? p[0] : 0;
}

static bool fields_next(struct agent *a, struct fields *f, struct field *out)
{
    if (f->p == f->end)
        return false;
    if (f->end - f->p < 5)
        bad_host(a, "a field that is cut off");
    size_t len = ms_get_u32(f->p + 1);
    if (len > (size_t)(f->end - f->p) - 5)
        bad_host(a, "a field that is longer than its frame");
    out->tag = f->tag;
    out->text = (char *)f->p + 5;
    out->len = len;
    f->p += 5 + len;
    f->tag = f->p < f->end ? *f->p : 0;
    *f->p = 0;
    return true;
}

static uint64_t number(struct agent *a, const struct field *f)
{
    if (f->len != 8)
        bad_host(a, "a number that is not 8 bytes long");
    return ms_get_u64((const unsigned char *)f->text);
}

static char *text(struct agent *a, const struct field *f)
{
    if (memchr(f->text, 0, f->len) != NULL)
        bad_host(a, "a string with a NUL inside");
    return f->text;
}

static char *absolute(struct agent *a, const struct field *f)
{
    char *path = text(a, f);
    if (path[0] != '/')
        bad_host(a, "a path that is not absolute");
    return path;
}

static void set_number(struct agent *a, uint64_t *out, const struct field *f)
{
    *out = number(a, f);
}

static void request_field(struct agent *a, const struct field *f, char **argv, char **env)
{
    struct request *r = &a->request;
    switch (f->tag) {
    case MS_T_ARGV:
        *argv = text(a, f);
        break;
    case MS_T_ENV:
        *env = text(a, f);
        break;
    case MS_T_CWD:
        r->cwd = absolute(a, f);
        break;
    case MS_T_OUTPUT_DIR:
        r->output_dir = absolute(a, f);
        break;
    case MS_T_VALUE_FILE:
        r->value_file = absolute(a, f);
        break;
    case MS_T_WALL_LIMIT_NS:
        set_number(a, &r->wall_limit_ns, f);
        break;
    case MS_T_STDOUT_MAX:
        set_number(a, &r->out_max[0], f);
        break;
    case MS_T_STDERR_MAX:
        set_number(a, &r->out_max[1], f);
        break;
    case MS_T_ARTEFACT_COUNT_MAX:
        set_number(a, &r->artefact_count_max, f);
        break;
    case MS_T_ARTEFACT_BYTES_MAX:
        set_number(a, &r->artefact_bytes_max, f);
        break;
    case MS_T_VALUE_MAX:
        set_number(a, &r->value_max, f);
        break;
    case MS_T_FLAGS:
        set_number(a, &r->flags, f);
        break;
    case MS_T_FSIZE:
        set_number(a, &r->fsize, f);
        break;
    default:
        bad_host(a, "a field of unknown kind in the request");
    }
}

/* Counts the strings and sees that nothing stands there twice, before anything is cut up. */
static void request_count(struct agent *a, const unsigned char *p, size_t n, size_t *argc,
                          size_t *envc)
{
    uint64_t seen = 0;
    *argc = *envc = 0;
    while (n > 0) {
        if (n < 5 || ms_get_u32(p + 1) > n - 5)
            bad_host(a, "a field that is longer than its frame");
        size_t len = 5 + (size_t)ms_get_u32(p + 1);
        if (p[0] == MS_T_ARGV)
            ++*argc;
        else if (p[0] == MS_T_ENV)
            ++*envc;
        else if (p[0] > MS_T_FSIZE || (seen & (uint64_t)1 << p[0]) != 0)
            bad_host(a, "a field that is unknown or stands there twice");
        else
            seen |= (uint64_t)1 << p[0];
        p += len;
        n -= len;
    }
}

void request_take(struct agent *a, unsigned char *p, size_t n)
{
    struct request *r = &a->request;
    size_t argc = 0, envc = 0;
    request_count(a, p, n, &argc, &envc);
    r->argv = calloc(argc + 1, sizeof *r->argv);
    r->env = calloc(envc + 1, sizeof *r->env);
    if (r->argv == NULL || r->env == NULL)
        fail(a, "request", ENOMEM, "no memory for the request", NULL);
    struct fields fields;
    struct field f;
    fields_start(&fields, p, n);
    argc = envc = 0;
    while (fields_next(a, &fields, &f)) {
        request_field(a, &f, &r->argv[argc], &r->env[envc]);
        argc += f.tag == MS_T_ARGV;
        envc += f.tag == MS_T_ENV;
    }
    if (argc == 0 || r->argv[0][0] == 0)
        bad_host(a, "a request without a program");
    if (r->cwd == NULL)
        r->cwd = "/";
    a->cwd_fd = make_dirs(r->cwd);
    if (a->cwd_fd < 0)
        fail(a, "request", errno, "cannot make or open the working directory", r->cwd);
    if (r->output_dir != NULL) {
        a->output_fd = make_dirs(r->output_dir);
        if (a->output_fd < 0)
            fail(a, "request", errno, "cannot make or open the output directory", r->output_dir);
    }
    if ((r->flags & MS_FLAG_LANDLOCK) != 0 && a->landlock_abi > 0) {
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
            path = text(a, &f);
            path_len = f.len;
        } else if (bit == 2) {
            a->file.mode = (uint32_t)number(a, &f);
        } else {
            a->file.left = number(a, &f);
        }
    }
    if (seen != 7)
        bad_host(a, "a file without path, mode or size");
    if (!ms_proto_path_ok(path, path_len))
        fail(a, "file", EINVAL, "a file's path breaks the rules", path);

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
