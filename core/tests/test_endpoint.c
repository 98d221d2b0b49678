/* Where an engine is looked for, in what order, and what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "endpoint.h"
#include "error.h"
#include "tap.h"
#include "url.h"

static char dir[64]; /* stands for the home directory */

/* ---- an environment of our own ---- */

static const char *names[16], *values[16];

static const char *fake_env(const char *name)
{
    for (size_t i = 0; i < 16 && names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return values[i];
    return NULL;
}

static void clear_env(void)
{
    memset(names, 0, sizeof names);
    names[0] = "HOME";
    values[0] = dir;
}

static void set(const char *name, const char *value)
{
    size_t i = 0;
    while (names[i])
        i++;
    names[i] = name;
    values[i] = value;
}

/* ---- files ---- */

static void make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        mkdir(path, 0700);
        *p = '/';
    }
}

static void write_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    make_parents(path);
    FILE *f = fopen(path, "we");
    if (!f || fputs(text, f) < 0 || fclose(f)) {
        perror(path);
        exit(2);
    }
}

static void hash(char out[65], const char *name)
{
    unsigned char d[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_Digest(name, strlen(name), d, &n, EVP_sha256(), NULL);
    for (unsigned i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", d[i]);
}

static void write_context(const char *name, const char *kind, const char *file, const char *text)
{
    char h[65], path[256];
    hash(h, name);
    snprintf(path, sizeof path, ".docker/contexts/%s/%s/%s", kind, h, file);
    write_file(path, text);
}

static int listen_at(const char *name)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char path[100];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    make_parents(path);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) || listen(fd, 8)) {
        perror(path);
        exit(2);
    }
    return fd;
}

/* ---- checks ---- */

static ms_endpoint ep;

static int find(const char *url, const char *tls_dir, moonsand_error **err)
{
    ms_endpoint_free(&ep);
    return ms_endpoint_find(&ep, url, tls_dir, fake_env, err);
}

static void finds(const char *url, const char *by, const char *want)
{
    moonsand_error *err = NULL;
    if (find(url, NULL, &err))
        diag("%s", moonsand_error_message(err));
    is_str(ep.url, want, "%s: url", by);
    is_str(ep.found_by, by, "%s: found by", want);
    moonsand_error_free(err);
}

static void fails(const char *url, const char *tls_dir, moonsand_code code, const char *part)
{
    moonsand_error *err = NULL;
    ok(find(url, tls_dir, &err) == -1 && ep.url == NULL, "refused: %.60s", url ? url : part);
    is_str(moonsand_code_name(moonsand_error_code(err)), moonsand_code_name(code), "  code");
    if (!ok(strstr(moonsand_error_message(err), part) != NULL, "  says \"%s\"", part))
        diag("%s", moonsand_error_message(err));
    moonsand_error_free(err);
}

static void is_argv(const char *url, const char *want)
{
    char got[512] = "";
    moonsand_error *err = NULL;
    is_int(find(url, NULL, &err), 0, "%s", url);
    moonsand_error_free(err);
    for (char **a = ep.ssh_argv; a && *a; a++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", *got ? "|" : "", *a);
    is_str(got, want, "  its ssh command");
}

static void test_urls(void)
{
    clear_env();
    finds("unix:///run/x.sock", "explicit", "unix:///run/x.sock");
    is_int(ep.kind, MS_UNIX, "  is unix");
    is_str(ep.unix_path, "/run/x.sock", "  path");
    finds("/run/y.sock", "explicit", "unix:///run/y.sock");
    finds("unix:///run/with space.sock", "explicit", "unix:///run/with space.sock");
    finds("tcp://example.org", "explicit", "tcp://example.org:2375");
    ok(ep.kind == MS_TCP && !ep.tls && !ep.tls_verify, "  no TLS");
    finds("tcp://10.0.0.1:99/", "explicit", "tcp://10.0.0.1:99");
    finds("tcp://[::1]:5", "explicit", "tcp://[::1]:5");
    is_str(ep.host_port, "[::1]:5", "  host and port");
    finds("ssh://box", "explicit", "ssh://box");
    is_int(ep.kind, MS_SSH, "  is ssh");
    is_argv("ssh://box", "ssh|-o|ConnectTimeout=30|-T|--|box|docker|system|dial-stdio");
    is_argv("ssh://me@box:2222/",
            "ssh|-o|ConnectTimeout=30|-T|-l|me|-p|2222|--|box|docker|system|dial-stdio");
    is_argv("ssh://[fe80::1]", "ssh|-o|ConnectTimeout=30|-T|--|fe80::1|docker|system|dial-stdio");
    is_argv("ssh://me@box/run/user/1/docker.sock",
            "ssh|-o|ConnectTimeout=30|-T|-l|me|--|box|docker|"
            "--host=unix:///run/user/1/docker.sock|system|dial-stdio");
}

static void test_bad_urls(void)
{
    static const char *const bad[][2] = {
        {"", "empty"},
        {"unix://", "absolute path"},
        {"unix://relative", "absolute path"},
        {"unix:///a\nb", "control character"},
        {"localhost:2375", "no scheme"},
        {"embedde", "no scheme"},
        {"ftp://x", "unknown scheme"},
        {"npipe:////./pipe/docker_engine", "Windows"},
        {"http://x:2375", "tcp://host:port"},
        {"https://x:2376", "encryption"},
        {"tcp://", "names no host"},
        {"tcp://:2375", "names no host"},
        {"tcp://x:", "no port"},
        {"tcp://x:0", "no port"},
        {"tcp://x:65536", "no port"},
        {"tcp://x:1x", "no port"},
        {"tcp://fe80::1", "no port"},
        {"tcp://x/base", "has a path"},
        {"tcp://u@x", "user name"},
        {"tcp://x?y", "not supported"},
        {"tcp://x\\y", "not supported"},
        {"tcp://[::1", "without its ]"},
        {"tcp://[]", "no IPv6"},
        {"tcp://[x:y]z", "other than a port"},
        {"tcp://[zz z]", "not supported"},
        {"tcp://-x", "begins with a dash"},
        {"tcp://x\xc3\xa4", "not allowed"},
        {"ssh://-oProxyCommand=id", "begins with a dash"},
        {"ssh://me@-oProxyCommand=id/", "begins with a dash"},
        {"ssh://-l@x", "user name"},
        {"ssh://@x", "user name"},
        {"ssh://me:secret@x", "password"},
        {"ssh://x/run/$(id).sock", "shell"},
        {"ssh://x/run/a;id", "shell"},
        {"ssh://x/run/a%20b", "not supported"},
        {"ssh://x:22;id", "no port"},
    };
    clear_env();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        fails(bad[i][0], NULL, MOONSAND_E_INVALID, bad[i][1]);
    char url[300] = "unix:///";
    memset(url + 8, 'a', 106);
    finds(url, "explicit", url);
    url[8 + 106] = 'a';
    fails(url, NULL, MOONSAND_E_INVALID, "at most 107");
    ms_endpoint e;
    char *huge = ms_malloc(100001);
    memset(huge, 'a', 100000);
    huge[100000] = 0;
    is_int(ms_url_parse(&e, huge, false, NULL), -1, "a very long one is refused, err NULL");
    ms_free(huge);
}

static void test_tls(void)
{
    char certs[100], empty[100], half[100];
    moonsand_error *err = NULL;
    snprintf(certs, sizeof certs, "%s/certs", dir);
    snprintf(empty, sizeof empty, "%s/empty", dir);
    snprintf(half, sizeof half, "%s/half", dir);
    write_file("certs/ca.pem", "x");
    write_file("certs/cert.pem", "x");
    write_file("certs/key.pem", "x");
    write_file("half/cert.pem", "x");
    mkdir(empty, 0700);
    clear_env();
    is_int(find("tcp://x", certs, &err), 0, "tls_dir");
    is_str(ep.url, "tcp://x:2376", "  port");
    ok(ep.tls && ep.tls_verify && ep.ca && ep.cert && ep.key, "  verified, with all files");
    fails("tcp://x", empty, MOONSAND_E_NOT_FOUND, "neither ca.pem");
    fails("tcp://x", half, MOONSAND_E_INVALID, "cert.pem without key.pem");
    set("DOCKER_TLS_VERIFY", "1");
    finds("tcp://x", "explicit", "tcp://x:2376");
    ok(ep.tls && ep.tls_verify && !ep.ca && !ep.cert, "DOCKER_TLS_VERIFY without files");
    finds("unix:///x", "explicit", "unix:///x");
    ok(!ep.tls, "TLS is not for unix sockets");
    clear_env();
    set("DOCKER_CERT_PATH", certs);
    finds("tcp://x:1", "explicit", "tcp://x:1");
    ok(ep.tls && ep.tls_verify && ep.ca, "DOCKER_CERT_PATH is TLS, verified");
    set("DOCKER_TLS", "1");
    finds("tcp://x:1", "explicit", "tcp://x:1");
    ok(ep.tls && !ep.tls_verify, "DOCKER_TLS alone does not verify");
    set("DOCKER_TLS_VERIFY", "1");
    finds("tcp://x:1", "explicit", "tcp://x:1");
    ok(ep.tls_verify, "DOCKER_TLS_VERIFY is stronger");
    clear_env();
    set("DOCKER_TLS", "1");
    is_int(find("tcp://x", certs, NULL), 0, "tls_dir with DOCKER_TLS");
    ok(ep.tls_verify, "  is verified");
    clear_env();
    set("DOCKER_CERT_PATH", empty);
    fails("tcp://x", NULL, MOONSAND_E_NOT_FOUND, "neither ca.pem");
    clear_env();
    set("DOCKER_TLS_VERIFY", "");
    finds("tcp://x", "explicit", "tcp://x:2375");
}

static void test_contexts(void)
{
    write_context("plain", "meta", "meta.json",
                  "{\"Name\":\"plain\",\"Metadata\":{},\"Endpoints\":{\"docker\":"
                  "{\"Host\":\"unix:///ctx.sock\",\"SkipTLSVerify\":false}}}");
    write_context("secure", "meta", "meta.json",
                  "{\"Name\":\"secure\",\"Endpoints\":{\"docker\":{\"Host\":\"tcp://far\"}}}");
    write_context("secure", "tls", "docker/ca.pem", "x");
    write_context("lax", "meta", "meta.json",
                  "{\"Name\":\"lax\",\"Endpoints\":{\"docker\":{\"Host\":\"tcp://far:7\","
                  "\"SkipTLSVerify\":true}}}");
    write_context("broken", "meta", "meta.json", "{\"Name\":");
    write_context("other", "meta", "meta.json", "{\"Name\":\"plain\"}");
    write_context("hostless", "meta", "meta.json", "{\"Name\":\"hostless\",\"Endpoints\":[]}");
    write_context("badurl", "meta", "meta.json",
                  "{\"Endpoints\":{\"docker\":{\"Host\":\"ssh://-oX=y\"}}}");
    write_context("array", "meta", "meta.json", "[]");
    clear_env();
    set("DOCKER_HOST", "unix:///host.sock");
    set("DOCKER_CONTEXT", "plain");
    finds(NULL, "DOCKER_CONTEXT", "unix:///ctx.sock");
    finds("unix:///e.sock", "explicit", "unix:///e.sock");
    clear_env();
    set("DOCKER_CONTEXT", "secure");
    finds(NULL, "DOCKER_CONTEXT", "tcp://far:2376");
    ok(ep.tls && ep.tls_verify && ep.ca && !ep.cert, "context's own CA");
    clear_env();
    set("DOCKER_CONTEXT", "lax");
    finds(NULL, "DOCKER_CONTEXT", "tcp://far:7");
    ok(ep.tls && !ep.tls_verify, "SkipTLSVerify");
    static const struct {
        const char *name;
        moonsand_code code;
        const char *part;
    } bad[] = {{"missing", MOONSAND_E_NOT_FOUND, "context \"missing\" does not exist"},
               {"broken", MOONSAND_E_INVALID, "not JSON"},
               {"other", MOONSAND_E_INVALID, "another context"},
               {"hostless", MOONSAND_E_INVALID, "no Docker host"},
               {"badurl", MOONSAND_E_INVALID, "begins with a dash"},
               {"array", MOONSAND_E_INVALID, "not a JSON object"},
               {"../../etc", MOONSAND_E_INVALID, "cannot be the name"},
               {"-x", MOONSAND_E_INVALID, "cannot be the name"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        clear_env();
        set("DOCKER_CONTEXT", bad[i].name);
        fails(NULL, NULL, bad[i].code, bad[i].part);
    }
    clear_env();
    names[0] = "NOHOME";
    set("DOCKER_CONTEXT", "plain");
    fails(NULL, NULL, MOONSAND_E_NOT_FOUND, "neither DOCKER_CONFIG nor HOME");
}

static void test_order(void)
{
    char other[100], path[128];
    snprintf(other, sizeof other, "%s/.docker", dir);
    clear_env();
    set("DOCKER_HOST", "unix:///host.sock");
    write_file(".docker/config.json", "{\"auths\":{},\"currentContext\":\"plain\"}");
    finds(NULL, "DOCKER_HOST", "unix:///host.sock");
    set("DOCKER_CONTEXT", "default");
    finds(NULL, "DOCKER_HOST", "unix:///host.sock");
    clear_env();
    finds(NULL, "config", "unix:///ctx.sock");
    clear_env();
    names[0] = "DOCKER_CONFIG";
    values[0] = other;
    finds(NULL, "config", "unix:///ctx.sock");
    clear_env();
    set("DOCKER_HOST", "nonsense");
    fails(NULL, NULL, MOONSAND_E_INVALID, "DOCKER_HOST: ");
    clear_env();
    write_file(".docker/config.json", "{\"currentContext\":\"gone\"}");
    fails(NULL, NULL, MOONSAND_E_NOT_FOUND, "\"gone\"");
    write_file(".docker/config.json", "{\"currentContext\":7}");
    fails(NULL, NULL, MOONSAND_E_INVALID, "not a string");
    write_file(".docker/config.json", "{{");
    fails(NULL, NULL, MOONSAND_E_INVALID, "config.json, line 1: not JSON");
    write_file(".docker/config.json", "");
    fails(NULL, NULL, MOONSAND_E_INVALID, "not JSON");
    snprintf(path, sizeof path, "%s/.docker/config.json", dir);
    ok(truncate(path, 5 << 20) == 0, "a huge config file");
    fails(NULL, NULL, MOONSAND_E_INVALID, "longer than");
    unlink(path);
    ok(mkfifo(path, 0600) == 0, "a FIFO for a config file");
    fails(NULL, NULL, MOONSAND_E_INVALID, "not a regular file");
    unlink(path);
}

static void test_sockets(void)
{
    char run[100], url[128];
    snprintf(run, sizeof run, "%s/run", dir);
    write_file("run/dummy", "");
    clear_env();
    set("XDG_RUNTIME_DIR", run);
    set("DOCKER_CONTEXT", "default");
    if (find(NULL, NULL, NULL) == 0) {
        skip("an engine of this machine answers at %s", ep.url);
        return;
    }
    fails(NULL, NULL, MOONSAND_E_NO_ENGINE, "moonsand engine start");
    fails(NULL, NULL, MOONSAND_E_NO_ENGINE, "DOCKER_HOST (not set)");
    fails(NULL, NULL, MOONSAND_E_NO_ENGINE, "/run/podman/podman.sock (");
    write_file("run/docker.sock", "no socket");
    fails(NULL, NULL, MOONSAND_E_NO_ENGINE, "docker.sock (Connection refused)");
    int podman = listen_at("run/podman/podman.sock");
    snprintf(url, sizeof url, "unix://%s/podman/podman.sock", run);
    finds(NULL, "socket", url);
    int desktop = listen_at(".docker/desktop/docker.sock");
    snprintf(url, sizeof url, "unix://%s/.docker/desktop/docker.sock", dir);
    finds(NULL, "socket", url);
    int docker = listen_at("run/docker.sock");
    snprintf(url, sizeof url, "unix://%s/docker.sock", run);
    finds(NULL, "socket", url);
    close(docker);
    close(desktop);
    close(podman);
    fails(NULL, NULL, MOONSAND_E_NO_ENGINE, "podman.sock (Connection refused)");
}

static void test_embedded(void)
{
    clear_env();
    set("XDG_DATA_HOME", dir);
    if (geteuid() == 0 && access("/var/lib/moonsand", F_OK) == 0)
        skip("this machine may have an embedded engine");
    else
        fails("embedded", NULL, MOONSAND_E_NO_ENGINE, "moonsand engine start");
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *where)
{
    (void)st;
    (void)what;
    (void)where;
    return remove(path);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/ms-endpoint.XXXXXX");
    if (!mkdtemp(dir))
        return 2;
    test_urls();
    test_bad_urls();
    test_tls();
    test_contexts();
    test_order();
    test_sockets();
    test_embedded();
    ms_endpoint_free(&ep);
    ms_endpoint_free(&ep);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return done_testing();
}
