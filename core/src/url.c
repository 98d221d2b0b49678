#include "url.h"

#include <ctype.h>
#include <string.h>
#include <sys/un.h>

#include "error.h"

#define URL_MAX 4096
#define UNIX_PATH_MAX_LEN (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/* "[user@]host[:port][/path]"; slices of the URL. */
typedef struct authority {
    const char *user, *host, *port, *path;
    size_t user_len, host_len, port_len;
    bool v6; /* host stood in brackets, which are not part of it */
} authority;

void ms_endpoint_free(ms_endpoint *ep)
{
    ms_free(ep->url);
    ms_free(ep->found_by);
    ms_free(ep->unix_path);
    ms_free(ep->host_port);
    ms_free(ep->ca);
    ms_free(ep->cert);
    ms_free(ep->key);
    for (char **arg = ep->ssh_argv; arg && *arg; arg++)
        ms_free(*arg);
    ms_free(ep->ssh_argv);
    memset(ep, 0, sizeof *ep);
}

static int refuse(moonsand_error **err, const char *url, const char *why)
{
    char shown[256];
    ms_printable(shown, sizeof shown, url, strlen(url));
    return ms_fail(err, MOONSAND_E_INVALID, "endpoint \"%s\" %s", shown, why);
}

static bool only(const char *s, size_t n, const char *extra)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x80 || (!isalnum(c) && !strchr(extra, c)))
            return false;
    }
    return true;
}

static bool port_ok(const char *s, size_t n)
{
    unsigned v = 0;
    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    return v > 0 && v <= 65535;
}

static int split(authority *a, const char *url, const char *rest, moonsand_error **err)
{
    memset(a, 0, sizeof *a);
    /* What percent signs, "?" and "#" mean differs from client to client, so none of them counts.
     */
    if (strpbrk(rest, "%?# \\"))
        return refuse(err, url,
                      "holds one of the characters % ? # \\ or a space, which are not "
                      "supported in it");
    size_t n = strcspn(rest, "/");
    a->path = rest + n;
    const char *at = memrchr(rest, '@', n);
    if (at) {
        a->user = rest;
        a->user_len = (size_t)(at - rest);
        n -= a->user_len + 1;
        rest = at + 1;
        if (memchr(a->user, ':', a->user_len))
            return refuse(err, url, "holds a password; use a key or ~/.ssh/config");
        if (!a->user_len || a->user[0] == '-' || !only(a->user, a->user_len, "._-+"))
            return refuse(err, url, "has a user name that is not allowed");
    }
    if (n > 0 && rest[0] == '[') {
        const char *end = memchr(rest, ']', n);
        if (!end)
            return refuse(err, url, "has a [ without its ]");
        a->v6 = true;
        a->host = rest + 1;
        a->host_len = (size_t)(end - a->host);
        n -= a->host_len + 2;
        rest = end + 1;
        if (n > 0 && rest[0] != ':')
            return refuse(err, url, "has something other than a port after the ]");
        if (!a->host_len || !only(a->host, a->host_len, ":.") || !memchr(a->host, ':', a->host_len))
            return refuse(err, url, "has no IPv6 address between [ and ]");
    } else {
        const char *colon = memchr(rest, ':', n);
        a->host = rest;
        a->host_len = colon ? (size_t)(colon - rest) : n;
        rest += a->host_len;
        n -= a->host_len;
        if (!a->host_len)
            return refuse(err, url, "names no host");
        /* ssh would take "-oProxyCommand=..." for an option and run it. */
        if (a->host[0] == '-')
            return refuse(err, url, "has a host name that begins with a dash, which is refused");
        if (!only(a->host, a->host_len, ".-_"))
            return refuse(err, url, "has a host name that is not allowed (write IPv6 in [ ])");
    }
    if (n > 0) {
        a->port = rest + 1;
        a->port_len = n - 1;
        if (!port_ok(a->port, a->port_len))
            return refuse(err, url, "has no port from 1 to 65535 after the colon");
    }
    return 0;
}

static int parse_unix(ms_endpoint *out, const char *url, const char *path, moonsand_error **err)
{
    if (path[0] != '/')
        return refuse(err, url, "needs an absolute path: unix:///run/docker.sock");
    if (strlen(path) > UNIX_PATH_MAX_LEN)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "socket path has %zu bytes, the kernel takes at most %zu: %s", strlen(path),
                       UNIX_PATH_MAX_LEN, path);
    out->kind = MS_UNIX;
    out->unix_path = ms_strdup(path);
    out->url = ms_asprintf("unix://%s", path);
    return out->unix_path && out->url ? 0 : ms_fail_nomem(err);
}

static int parse_tcp(ms_endpoint *out, const char *url, const char *rest, bool tls,
                     moonsand_error **err)
{
    authority a;
    if (split(&a, url, rest, err))
        return -1;
    if (a.user)
        return refuse(err, url, "has a user name, which tcp:// does not know");
    if (a.path[0] && strcmp(a.path, "/") != 0)
        return refuse(err, url, "has a path, which tcp:// does not know");
    const char *port = a.port ? a.port : tls ? "2376" : "2375";
    int port_len = a.port ? (int)a.port_len : 4;
    out->kind = MS_TCP;
    out->tls = tls;
    out->tls_verify = tls;
    out->host_port = ms_asprintf("%s%.*s%s:%.*s", a.v6 ? "[" : "", (int)a.host_len, a.host,
                                 a.v6 ? "]" : "", port_len, port);
    if (!out->host_port)
        return ms_fail_nomem(err);
    out->url = ms_asprintf("tcp://%s", out->host_port);
    return out->url ? 0 : ms_fail_nomem(err);
}

static int add_arg(char **argv, size_t *n, const char *s, size_t len, moonsand_error **err)
{
    argv[*n] = ms_strndup(s, len);
    if (!argv[*n])
        return ms_fail_nomem(err);
    (*n)++;
    return 0;
}

static int add_args(char **argv, size_t *n, const char *const *words, moonsand_error **err)
{
    for (; *words; words++)
        if (add_arg(argv, n, *words, strlen(*words), err))
            return -1;
    return 0;
}

static int ssh_argv(char **argv, const authority *a, const char *socket, moonsand_error **err)
{
    static const char *const head[] = {"ssh", "-o", "ConnectTimeout=30", "-T", NULL};
    static const char *const tail[] = {"system", "dial-stdio", NULL};
    size_t n = 0;
    if (add_args(argv, &n, head, err))
        return -1;
    if (a->user &&
        (add_arg(argv, &n, "-l", 2, err) || add_arg(argv, &n, a->user, a->user_len, err)))
        return -1;
    if (a->port &&
        (add_arg(argv, &n, "-p", 2, err) || add_arg(argv, &n, a->port, a->port_len, err)))
        return -1;
    if (add_arg(argv, &n, "--", 2, err) || add_arg(argv, &n, a->host, a->host_len, err) ||
        add_arg(argv, &n, "docker", 6, err))
        return -1;
    if (socket) {
        argv[n] = ms_asprintf("--host=unix://%s", socket);
        if (!argv[n++])
            return ms_fail_nomem(err);
    }
    return add_args(argv, &n, tail, err);
}

static int parse_ssh(ms_endpoint *out, const char *url, const char *rest, moonsand_error **err)
{
    authority a;
    if (split(&a, url, rest, err))
        return -1;
    const char *socket = a.path[0] && strcmp(a.path, "/") != 0 ? a.path : NULL;
    /* ssh joins the words with spaces and gives the line to the far shell. */
    if (socket && !only(socket, strlen(socket), "/._-+,@:="))
        return refuse(err, url, "has a socket path with characters that a shell could read");
    if (socket && strlen(socket) > UNIX_PATH_MAX_LEN)
        return refuse(err, url, "has a socket path of more than 107 bytes");
    out->kind = MS_SSH;
    out->url = ms_strdup(url);
    out->ssh_argv = ms_calloc(16, sizeof *out->ssh_argv);
    if (!out->url || !out->ssh_argv)
        return ms_fail_nomem(err);
    return ssh_argv(out->ssh_argv, &a, socket, err);
}

static int parse(ms_endpoint *out, const char *url, bool tls, moonsand_error **err)
{
    size_t len = strlen(url);
    if (len == 0)
        return ms_fail(err, MOONSAND_E_INVALID, "endpoint is empty");
    if (len > URL_MAX)
        return ms_fail(err, MOONSAND_E_INVALID, "endpoint is longer than %d bytes", URL_MAX);
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return refuse(err, url, "holds a control character");
    if (url[0] == '/')
        return parse_unix(out, url, url, err);
    if (strncmp(url, "unix://", 7) == 0)
        return parse_unix(out, url, url + 7, err);
    if (strncmp(url, "tcp://", 6) == 0)
        return parse_tcp(out, url, url + 6, tls, err);
    if (strncmp(url, "ssh://", 6) == 0)
        return parse_ssh(out, url, url + 6, err);
    if (strncmp(url, "npipe://", 8) == 0)
        return refuse(err, url, "is a Windows pipe, which does not exist here");
    if (strncmp(url, "http://", 7) == 0)
        return refuse(err, url, "must be written tcp://host:port (it is then not encrypted)");
    if (strncmp(url, "https://", 8) == 0)
        return refuse(err, url,
                      "must be written tcp://host:port, with tls_dir, DOCKER_CERT_PATH or "
                      "DOCKER_TLS_VERIFY=1 for the encryption");
    if (!strstr(url, "://"))
        return refuse(err, url,
                      "has no scheme; write unix:///path, tcp://host:port, "
                      "ssh://user@host or embedded");
    return refuse(err, url, "has an unknown scheme; known are unix, tcp and ssh");
}

int ms_url_parse(ms_endpoint *out, const char *url, bool tls, moonsand_error **err)
{
    memset(out, 0, sizeof *out);
    int rc = parse(out, url, tls, err);
    if (rc)
        ms_endpoint_free(out);
    return rc;
}
