#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "embedded.h"
#include "error.h"
#include "file.h"
#include "host.h"
#include "process.h"

/* Daemons live in sbin, which a plain user's PATH leaves out. */
#define MORE_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

typedef struct words {
    char *at[40];
    size_t n;
    bool failed;
} words;

/* Checked once, by words_ok(), so that lists can be read as lists. */
static void add(words *w, char *heap)
{
    if (!heap || w->n + 1 >= sizeof w->at / sizeof *w->at) {
        w->failed = true;
        ms_free(heap);
        return;
    }
    w->at[w->n++] = heap;
}

static void add_all(words *w, const char *const *list)
{
    for (; *list; list++)
        add(w, ms_strdup(*list));
}

static void words_free(words *w)
{
    for (size_t i = 0; i < w->n; i++)
        ms_free(w->at[i]);
    memset(w, 0, sizeof *w);
}

static char *search_path(void)
{
    const char *path = getenv("PATH");
    return ms_asprintf("%s%s%s", path ? path : "", path && *path ? ":" : "", MORE_PATH);
}

int ms_embedded_program(char **out, const char *name, moonsand_error **err)
{
    *out = NULL;
    char *path = search_path(), *save = NULL;
    if (!path)
        return ms_fail_nomem(err);
    for (char *dir = strtok_r(path, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        struct stat st;
        if (dir[0] != '/')
            continue;
        char *full = ms_asprintf("%s/%s", dir, name);
        if (!full) {
            ms_free(path);
            return ms_fail_nomem(err);
        }
        if (stat(full, &st) == 0 && S_ISREG(st.st_mode) && access(full, X_OK) == 0) {
            *out = full;
            break;
        }
        ms_free(full);
    }
    ms_free(path);
    return 0;
}

static int installed(bool *out, const char *name, moonsand_error **err)
{
    char *path;
    if (ms_embedded_program(&path, name, err))
        return -1;
    *out = path != NULL;
    ms_free(path);
    return 0;
}

int ms_embedded_choose(const char **kind, const char *wanted, moonsand_error **err)
{
    bool docker = false, podman = false, root = geteuid() == 0;
    if (wanted && strcmp(wanted, "docker") != 0 && strcmp(wanted, "podman") != 0)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "engine kind \"%s\" is unknown; docker and podman are known", wanted);
    if (installed(&docker, "dockerd", err) || installed(&podman, "podman", err))
        return -1;
    bool want_docker = !wanted || strcmp(wanted, "docker") == 0;
    bool want_podman = !wanted || strcmp(wanted, "podman") == 0;
    *kind = want_docker && docker && root ? "docker" : want_podman && podman ? "podman" : NULL;
    if (*kind)
        return 0;
    if (want_docker && docker)
        return ms_fail(err, MOONSAND_E_NO_ENGINE,
                       "dockerd needs root; without root podman will do: apt-get install podman");
    if (!wanted)
        return ms_fail(err, MOONSAND_E_NO_ENGINE,
                       "neither dockerd nor podman is installed: apt-get install %s",
                       root ? "docker.io" : "podman");
    return ms_fail(err, MOONSAND_E_NO_ENGINE, "%s is not installed: apt-get install %s",
                   want_docker ? "dockerd" : "podman", want_docker ? "docker.io" : "podman");
}

/* Nothing of the caller's that could change what the engine does: no DOCKER_HOST, no CONTAINERS_*.
 */
static void base_environment(words *env)
{
    static const char *const kept[] = {
        "HOME",           "LANG",       "TMPDIR",      "XDG_RUNTIME_DIR", "XDG_DATA_HOME",
        "http_proxy",     "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",     "no_proxy",
        "NO_PROXY",       "all_proxy",  "ALL_PROXY",   "SSL_CERT_FILE",   "SSL_CERT_DIR",
        "DOCKER_RAMDISK", NULL};
    char *path = search_path();
    add(env, path ? ms_asprintf("PATH=%s", path) : NULL);
    ms_free(path);
    for (size_t i = 0; kept[i]; i++) {
        const char *v = getenv(kept[i]);
        if (v)
            add(env, ms_asprintf("%s=%s", kept[i], v));
    }
}

static int write_below(const char *dir, const char *name, ms_buf *text, int failed,
                       moonsand_error **err)
{
    char *path = failed ? NULL : ms_asprintf("%s/%s", dir, name);
    int rc = path ? ms_file_write(path, text->data, text->len, err) : ms_fail_nomem(err);
    ms_free(path);
    ms_buf_free(text);
    return rc;
}

/* ---- dockerd ---- */

/* Without a way out there is no network at all: a bridge that leads nowhere leads to this machine's
 * services. But `--bridge=none` would delete another Docker's docker0; then a label says it, which
 * engine.c reads. */
static int docker_network(words *argv, ms_embedded_net *net, const ms_embedded *e,
                          moonsand_error **err)
{
    bool others = if_nametoindex("docker0") != 0;
    if (ms_embedded_net_up(net, e, err))
        return -1;
    if (net->missing[0] && others && !net->bridge[0])
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "the bridge docker0 belongs to another Docker, and one of our own is not to "
                       "be had (%s); use that Docker",
                       net->missing);
    if (net->missing[0] && others)
        add(argv, ms_strdup("--label=" MS_LABEL_NO_NETWORK));
    else if (net->missing[0]) {
        ms_embedded_net_down(e);
        net->bridge[0] = net->subnet[0] = 0;
    }
    add(argv, ms_asprintf("--bridge=%s", net->bridge[0] ? net->bridge : "none"));
    return 0;
}

static int docker_words(words *argv, ms_embedded_net *net, const ms_embedded *e,
                        moonsand_error **err)
{
    static const char *const rest[] = {
        /* dockerd's chains are the system's Docker's: a second one would take them from it. */
        "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false",
        "--userland-proxy=false",
        /* Else the socket goes to a group "docker", whose members need not be meant. */
        "--group=0", "--shutdown-timeout=3", NULL};
    ms_buf empty = {0};
    int failed = ms_buf_adds(&empty, "{}\n");
    /* An empty file of ours keeps /etc/docker/daemon.json out. */
    if (write_below(e->run, "daemon.json", &empty, failed, err))
        return -1;
    if (docker_network(argv, net, e, err))
        return -1;
    add(argv, ms_asprintf("--config-file=%s/daemon.json", e->run));
    add(argv, ms_asprintf("--data-root=%s/data/docker", e->dir));
    add(argv, ms_asprintf("--exec-root=%s/exec", e->run));
    add(argv, ms_asprintf("--pidfile=%s/engine.pid", e->run));
    add(argv, ms_asprintf("--host=unix://%s", e->socket));
    /* dockerd uses the system's containerd when one runs; names of our own keep us out of its hair.
     */
    add(argv, ms_asprintf("--containerd-namespace=moonsand-%s", e->tag));
    add(argv, ms_asprintf("--containerd-plugins-namespace=moonsand-%s-plugins", e->tag));
    add_all(argv, rest);
    return 0;
}

/* ---- podman ---- */

/* crun 1.8 refuses hybrid hierarchies ("drop all controllers from cgroupv2"), and runc is as good
 * where there is no version 2. */
static int podman_runtime(const char **out, moonsand_error **err)
{
    bool crun = false, runc = false;
    if (installed(&crun, "crun", err) || installed(&runc, "runc", err))
        return -1;
    if (!crun && !runc)
        return ms_fail(err, MOONSAND_E_NO_ENGINE,
                       "podman has no OCI runtime: apt-get install runc");
    bool v2 = ms_host_cgroup_mode() == MS_CGROUP_V2;
    *out = crun && (v2 || !runc) ? "crun" : "runc";
    return 0;
}

/* Podman asks for 1048576 unless told, which fails without CAP_SYS_RESOURCE. */
static unsigned long long at_most(const struct rlimit *rl, unsigned long long most)
{
    return rl->rlim_max > most ? most : rl->rlim_max;
}

/* Podman lowers its own limit of processes to this one, and cannot give a container more. */
static unsigned long long pid_max(void)
{
    char *line = ms_file_line("/proc/sys/kernel/pid_max");
    unsigned long long n = line ? strtoull(line, NULL, 10) : 0;
    ms_free(line);
    return n > 0 && n < 1048576 ? n : 32768;
}

/* Which of its two network programs Podman has; it takes netavark, where both are. */
static const char *podman_backend(void)
{
    static const char *const netavark[] = {
        "/usr/local/libexec/podman/netavark", "/usr/local/lib/podman/netavark",
        "/usr/libexec/podman/netavark", "/usr/lib/podman/netavark", NULL};
    static const char *const cni[] = {"/usr/local/libexec/cni/bridge", "/usr/libexec/cni/bridge",
                                      "/usr/local/lib/cni/bridge",     "/usr/lib/cni/bridge",
                                      "/opt/cni/bin/bridge",           NULL};
    for (size_t i = 0; netavark[i]; i++)
        if (access(netavark[i], X_OK) == 0)
            return "netavark";
    for (size_t i = 0; cni[i]; i++)
        if (access(cni[i], X_OK) == 0)
            return "cni";
    return NULL;
}

/* Podman's default network, put on our bridge, without rules of the network program's own. Without
 * a way out it is an internal one (Podman would make up its own default else), which engine.c sees.
 */
static int podman_network(ms_embedded_net *net, const char *backend, const ms_embedded *e,
                          moonsand_error **err)
{
    ms_buf b = {0};
    if (!backend)
        snprintf(net->missing, sizeof net->missing,
                 "podman has no network plugins: apt-get install containernetworking-plugins");
    else if (ms_embedded_net_up(net, e, err))
        return -1;
    bool open = !net->missing[0], netavark = backend && strcmp(backend, "netavark") == 0;
    char bridge[16], subnet[20];
    ms_embedded_net_name(bridge, e);
    snprintf(subnet, sizeof subnet, "%s", open ? net->subnet : "198.18.0.0/24");
    if (!open) {
        ms_embedded_net_down(e);
        net->bridge[0] = net->subnet[0] = 0;
    }
    int failed = 0;
    if (netavark)
        failed = ms_buf_addf(&b,
                             "{\"name\":\"podman\",\"id\":\"%1$s%1$s%1$s%1$s\","
                             "\"driver\":\"bridge\",\"network_interface\":\"%2$s\","
                             "\"created\":\"2023-01-01T00:00:00Z\","
                             "\"subnets\":[{\"subnet\":\"%3$s\",\"gateway\":\"%4$.*5$s1\"}],"
                             "\"ipv6_enabled\":false,\"internal\":%6$s,\"dns_enabled\":false,"
                             "\"ipam_options\":{\"driver\":\"host-local\"}}\n",
                             e->tag, bridge, subnet, subnet,
                             (int)(strrchr(subnet, '.') + 1 - subnet), open ? "false" : "true");
    else
        failed = ms_buf_addf(&b,
                             "{\"cniVersion\":\"0.4.0\",\"name\":\"podman\",\"plugins\":[{"
                             "\"type\":\"bridge\",\"bridge\":\"%s\",\"isGateway\":%s,"
                             "\"ipam\":{\"type\":\"host-local\","
                             "\"dataDir\":\"%s/podman/addresses\",%s"
                             "\"ranges\":[[{\"subnet\":\"%s\"}]]}}]}\n",
                             bridge, open ? "true" : "false", e->run,
                             open ? "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]," : "", subnet);
    char *dir = ms_asprintf("%s/podman/networks", e->run);
    int rc = dir ? 0 : ms_fail_nomem(err);
    if (rc == 0 && mkdir(dir, 0700) && errno != EEXIST)
        rc = ms_fail_errno(err, errno, "%s", dir);
    if (rc == 0)
        rc = write_below(dir, netavark ? "podman.json" : "podman.conflist", &b, failed, err);
    ms_buf_free(&b);
    ms_free(dir);
    return rc;
}

static int podman_config(ms_embedded_net *net, const ms_embedded *e, const char *runtime,
                         moonsand_error **err)
{
    ms_buf b = {0};
    struct rlimit nofile, nproc;
    if (getrlimit(RLIMIT_NOFILE, &nofile) || getrlimit(RLIMIT_NPROC, &nproc))
        return ms_fail_errno(err, errno, "getrlimit");
    unsigned long long files = at_most(&nofile, 1048576), procs = at_most(&nproc, pid_max());
    /* A user's Podman reaches the outside without a bridge (slirp4netns, pasta). */
    const char *backend = geteuid() == 0 ? podman_backend() : NULL;
    if (geteuid() == 0 && podman_network(net, backend, e, err))
        return -1;
    /* The default locks are one piece of shared memory for all Podmans of a user; ours must not
     * touch theirs. */
    int failed = ms_buf_addf(&b,
                             "[containers]\n"
                             "default_ulimits = [\"nofile=%llu:%llu\", \"nproc=%llu:%llu\"]\n"
                             "[engine]\n"
                             "runtime = \"%s\"\n"
                             "cgroup_manager = \"cgroupfs\"\n"
                             "events_logger = \"file\"\n"
                             "events_logfile_path = \"%s/podman/events.log\"\n"
                             "lock_type = \"file\"\n"
                             "[network]\n"
                             "network_config_dir = \"%s/podman/networks\"\n",
                             files, files, procs, procs, runtime, e->run, e->run);
    if (backend)
        failed |= ms_buf_addf(&b, "network_backend = \"%s\"\n", backend);
    if (backend && strcmp(backend, "netavark") == 0)
        failed |= ms_buf_adds(&b, "firewall_driver = \"none\"\n");
    if (write_below(e->run, "containers.conf", &b, failed, err))
        return -1;
    /* No driver: Podman then takes the first that works here, overlay if possible, vfs at worst. */
    failed = ms_buf_addf(&b,
                         "[storage]\ndriver = \"\"\ngraphroot = \"%s/data/podman\"\n"
                         "runroot = \"%s/podman/run\"\n",
                         e->dir, e->run);
    return write_below(e->run, "storage.conf", &b, failed, err);
}

static int podman_words(words *argv, words *env, ms_embedded_net *net, const ms_embedded *e,
                        moonsand_error **err)
{
    const char *runtime = NULL;
    if (podman_runtime(&runtime, err) || podman_config(net, e, runtime, err))
        return -1;
    add(argv, ms_asprintf("--root=%s/data/podman", e->dir));
    add(argv, ms_asprintf("--runroot=%s/podman/run", e->run));
    add(argv, ms_asprintf("--tmpdir=%s/podman/tmp", e->run));
    add(argv, ms_asprintf("--runtime=%s", runtime));
    /* runc's own list of containers is the machine's; one of ours goes when the run directory does.
     */
    add(argv, ms_asprintf("--runtime-flag=root=%s/podman/oci", e->run));
    add_all(argv, (const char *const[]){"--cgroup-manager=cgroupfs", "system", "service",
                                        "--time=0", NULL});
    add(argv, ms_asprintf("unix://%s", e->socket));
    add(env, ms_asprintf("CONTAINERS_CONF=%s/containers.conf", e->run));
    add(env, ms_asprintf("CONTAINERS_STORAGE_CONF=%s/storage.conf", e->run));
    return 0;
}

int ms_embedded_launch(pid_t *pid, ms_embedded_net *net, const ms_embedded *e, const char *kind,
                       moonsand_error **err)
{
    memset(net, 0, sizeof *net);
    words argv = {0}, env = {0};
    bool docker = strcmp(kind, "docker") == 0;
    char *program;
    int rc = ms_embedded_program(&program, docker ? "dockerd" : "podman", err);
    if (rc == 0 && !program)
        rc = ms_fail(err, MOONSAND_E_NO_ENGINE, "%s is not installed", kind);
    if (rc == 0) {
        add(&argv, program);
        base_environment(&env);
        rc = docker ? docker_words(&argv, net, e, err) : podman_words(&argv, &env, net, e, err);
    }
    if (rc == 0 && (argv.failed || env.failed))
        rc = ms_fail_nomem(err);
    if (rc == 0)
        rc = ms_process_daemon(pid, argv.at, env.at, e->log, err);
    if (rc && net->bridge[0])
        ms_embedded_net_down(e);
    words_free(&argv);
    words_free(&env);
    return rc;
}
