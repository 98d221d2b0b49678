#include "endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "context.h"
#include "embedded.h"
#include "error.h"
#include "url.h"

typedef struct search {
    ms_endpoint *out;
    const char *tls_dir;
    ms_getenv_fn env;
    char *config_dir; /* NULL: neither DOCKER_CONFIG nor HOME is set */
    ms_buf seen;      /* for the message when nothing is found */
} search;

enum { FOUND = 1 }; /* besides 0, not here, and -1, failed */

static const char *own_getenv(const char *name)
{
    return getenv(name);
}

/* NULL also for an empty value, as the docker command reads them. */
static const char *env(const search *s, const char *name)
{
    const char *v = s->env(name);
    return v && *v ? v : NULL;
}

static int note(search *s, const char *place, const char *what, moonsand_error **err)
{
    if (ms_buf_addf(&s->seen, "%s%s (%s)", s->seen.len ? ", " : "", place, what))
        return ms_fail_nomem(err);
    return 0;
}

static int found_by(search *s, const char *by, moonsand_error **err)
{
    s->out->found_by = ms_strdup(by);
    return s->out->found_by ? FOUND : ms_fail_nomem(err);
}

/* ---- TLS ---- */

static int tls_file(char **out, const char *dir, const char *name, moonsand_error **err)
{
    *out = ms_asprintf("%s/%s", dir, name);
    if (!*out)
        return ms_fail_nomem(err);
    if (access(*out, R_OK) == 0)
        return 0;
    int why = errno;
    if (why != ENOENT && why != ENOTDIR)
        return ms_fail_errno(err, why, "%s", *out);
    ms_free(*out);
    *out = NULL;
    return 0;
}

/* needed: the caller named this directory, so that an empty one is a mistake. */
static int tls_files(ms_endpoint *ep, const char *dir, bool needed, moonsand_error **err)
{
    if (tls_file(&ep->ca, dir, "ca.pem", err) || tls_file(&ep->cert, dir, "cert.pem", err) ||
        tls_file(&ep->key, dir, "key.pem", err))
        return -1;
    if (!ep->cert != !ep->key)
        return ms_fail(err, MOONSAND_E_INVALID, "%s has %s without %s", dir,
                       ep->cert ? "cert.pem" : "key.pem", ep->cert ? "key.pem" : "cert.pem");
    if (needed && !ep->ca && !ep->cert)
        return ms_fail(err, MOONSAND_E_NOT_FOUND, "%s has neither ca.pem nor cert.pem and key.pem",
                       dir);
    return 0;
}

/* A URL that stands alone: the environment says whether tcp:// is encrypted. The Docker SDK does
 * not verify when only DOCKER_CERT_PATH is set; we do, unless DOCKER_TLS asks for less. */
static int use_url(search *s, const char *url, moonsand_error **err)
{
    const char *cert_path = env(s, "DOCKER_CERT_PATH");
    bool must_verify = env(s, "DOCKER_TLS_VERIFY") != NULL;
    bool weak = env(s, "DOCKER_TLS") != NULL;
    if (ms_url_parse(s->out, url, s->tls_dir || cert_path || must_verify || weak, err))
        return -1;
    if (!s->out->tls)
        return 0;
    s->out->tls_verify = s->tls_dir || must_verify || !weak;
    if (s->tls_dir)
        return tls_files(s->out, s->tls_dir, true, err);
    if (cert_path)
        return tls_files(s->out, cert_path, true, err);
    return s->config_dir ? tls_files(s->out, s->config_dir, false, err) : 0;
}

/* A context brings its own TLS files; those of the environment belong to DOCKER_HOST. */
static int use_context(search *s, const char *name, moonsand_error **err)
{
    ms_context c;
    if (!s->config_dir)
        return ms_fail(err, MOONSAND_E_NOT_FOUND,
                       "context \"%s\": neither DOCKER_CONFIG nor HOME says where contexts are",
                       name);
    if (ms_context_load(&c, s->config_dir, name, err))
        return -1;
    int rc = ms_url_parse(s->out, c.host, s->tls_dir || c.tls_dir || c.skip_verify, err);
    if (rc)
        ms_error_wrap(err, "context \"%s\"", name);
    if (rc == 0 && s->out->tls) {
        s->out->tls_verify = s->tls_dir || !c.skip_verify;
        if (s->tls_dir)
            rc = tls_files(s->out, s->tls_dir, true, err);
        else if (c.tls_dir)
            rc = tls_files(s->out, c.tls_dir, false, err);
    }
    ms_context_free(&c);
    return rc;
}

/* ---- sockets ---- */

/* 0 when somebody listens, else errno. Never waits: a full backlog (EAGAIN) is a listener, too. */
static int try_socket(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof sa.sun_path)
        return ENAMETOOLONG;
    memcpy(sa.sun_path, path, n + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int why = connect(fd, (struct sockaddr *)&sa, sizeof sa) ? errno : 0;
    close(fd);
    return why == EAGAIN ? 0 : why;
}

static int look_at_socket(search *s, const char *path, moonsand_error **err)
{
    int why = try_socket(path);
    if (why == EACCES)
        return note(s, path, "permission denied: is this user in the socket's group?", err);
    if (why)
        return note(s, path, strerror(why), err);
    if (ms_url_parse(s->out, path, false, err))
        return -1;
    return found_by(s, "socket", err);
}

static int look_below(search *s, const char *var, const char *name, moonsand_error **err)
{
    const char *base = env(s, var);
    if (!base)
        return 0;
    char *path = ms_asprintf("%s/%s", base, name);
    if (!path)
        return ms_fail_nomem(err);
    int rc = path[0] == '/' ? look_at_socket(s, path, err) : 0;
    ms_free(path);
    return rc;
}

static int look_at_sockets(search *s, moonsand_error **err)
{
    int rc = look_at_socket(s, "/var/run/docker.sock", err);
    if (rc == 0)
        rc = look_below(s, "XDG_RUNTIME_DIR", "docker.sock", err);
    if (rc == 0)
        rc = look_below(s, "HOME", ".docker/desktop/docker.sock", err);
    if (rc == 0)
        rc = look_below(s, "XDG_RUNTIME_DIR", "podman/podman.sock", err);
    if (rc == 0)
        rc = look_at_socket(s, "/run/podman/podman.sock", err);
    return rc;
}

static int look_at_embedded(search *s, const char *by, moonsand_error **err)
{
    char *path = NULL;
    if (ms_embedded_find(&path, s->env, err))
        return -1;
    if (!path)
        return note(s, "embedded engine", "not running", err);
    int rc = ms_url_parse(s->out, path, false, err);
    ms_free(path);
    return rc ? -1 : found_by(s, by, err);
}

/* ---- the order ---- */

static int explicit(search *s, const char *url, moonsand_error **err)
{
    if (strcmp(url, "embedded") != 0)
        return use_url(s, url, err) ? -1 : found_by(s, "explicit", err);
    int rc = look_at_embedded(s, "explicit", err);
    if (rc == 0)
        return ms_fail(err, MOONSAND_E_NO_ENGINE,
                       "the embedded engine is not running; start it with `moonsand engine start`");
    return rc;
}

static int by_docker_host(search *s, moonsand_error **err)
{
    const char *host = env(s, "DOCKER_HOST");
    if (!host)
        return note(s, "DOCKER_HOST", "not set", err);
    if (use_url(s, host, err))
        return ms_error_wrap(err, "DOCKER_HOST");
    return found_by(s, "DOCKER_HOST", err);
}

static int by_config(search *s, moonsand_error **err)
{
    char *name = NULL;
    if (!s->config_dir)
        return note(s, "docker config", "neither DOCKER_CONFIG nor HOME is set", err);
    if (ms_config_current(&name, s->config_dir, err))
        return -1;
    int rc;
    if (!name || strcmp(name, "default") == 0)
        rc = note(s, s->config_dir, "no current context in config.json", err);
    else
        rc = use_context(s, name, err) ? -1 : found_by(s, "config", err);
    ms_free(name);
    return rc;
}

static int look(search *s, moonsand_error **err)
{
    const char *context = env(s, "DOCKER_CONTEXT");
    int rc = 0;
    if (!context)
        rc = note(s, "DOCKER_CONTEXT", "not set", err);
    else if (strcmp(context, "default") != 0)
        return use_context(s, context, err) ? -1 : found_by(s, "DOCKER_CONTEXT", err);
    if (rc == 0)
        rc = by_docker_host(s, err);
    /* DOCKER_CONTEXT=default means: as if no context had ever been chosen. */
    if (rc == 0 && !context)
        rc = by_config(s, err);
    if (rc == 0)
        rc = look_at_sockets(s, err);
    if (rc == 0)
        rc = look_at_embedded(s, "embedded", err);
    if (rc == 0)
        return ms_fail(err, MOONSAND_E_NO_ENGINE,
                       "no container engine was found; looked at %s. Start Docker or Podman, set "
                       "DOCKER_HOST, or run `moonsand engine start`",
                       s->seen.data);
    return rc;
}

static int config_dir(search *s, moonsand_error **err)
{
    const char *dir = env(s, "DOCKER_CONFIG");
    const char *home = env(s, "HOME");
    if (!dir && !home)
        return 0;
    s->config_dir = dir ? ms_strdup(dir) : ms_asprintf("%s/.docker", home);
    return s->config_dir ? 0 : ms_fail_nomem(err);
}

int ms_endpoint_find(ms_endpoint *out, const char *explicit_url, const char *tls_dir,
                     const char *(*getenv_fn)(const char *name), moonsand_error **err)
{
    memset(out, 0, sizeof *out);
    search s = {.out = out, .tls_dir = tls_dir, .env = getenv_fn ? getenv_fn : own_getenv};
    int rc = config_dir(&s, err);
    if (rc == 0)
        rc = explicit_url ? explicit(&s, explicit_url, err) : look(&s, err);
    ms_free(s.config_dir);
    ms_buf_free(&s.seen);
    if (rc != FOUND)
        ms_endpoint_free(out);
    return rc == FOUND ? 0 : ms_error_op(err, "find engine");
}
