/* The network of an embedded engine: bridge and rules come and go with it, and where none can be
 * made the engine starts all the same. What containers reach through it: spec/network_spec.lua. */
#include <ftw.h>
#include <jansson.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "embedded.h"
#include "json.h"
#include "loop.h"
#include "moonsand.h"
#include "process.h"
#include "tap.h"

static char dir[200], bridge[16];

static void nap(void)
{
    struct timespec t = {0, 50 * MS_MS};
    nanosleep(&t, NULL);
}

/* How many lines the command prints. */
__attribute__((format(printf, 1, 2))) static int lines(const char *fmt, ...)
{
    char command[500], line[1000];
    va_list ap;
    int n = 0;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    FILE *f = popen(command, "re");
    while (f && fgets(line, sizeof line, f))
        n++;
    if (f)
        pclose(f);
    return n;
}

/* Lines of all tables that name our bridge. */
static int rules(void)
{
    return lines("{ iptables-save; ip6tables-save; ebtables -L; } 2>/dev/null | grep -- %s",
                 bridge);
}

static json_t *status(void)
{
    char *text = NULL;
    moonsand_embedded_status(&text, dir, NULL);
    json_t *o = json_loads(text ? text : "{}", 0, NULL);
    moonsand_free(text);
    return o;
}

static bool start(const char *kind)
{
    moonsand_error *err = NULL;
    char *path = NULL;
    bool good = moonsand_embedded_start(&path, dir, kind, &err) == 0;
    if (!good)
        diag("%s", moonsand_error_message(err));
    moonsand_error_free(err);
    moonsand_free(path);
    return good;
}

static void stop(void)
{
    is_int(moonsand_embedded_stop(dir, NULL), 0, "stop");
}

static void nothing_left(void)
{
    is_int(if_nametoindex(bridge), 0, "  no bridge is left");
    is_int(rules(), 0, "  no rule is left");
}

static void test_life(const char *kind)
{
    ok(start(kind), "%s starts", kind);
    json_t *o = status();
    is_str(ms_json_str(o, "network.bridge", ""), bridge, "status: its bridge");
    ok(strncmp(ms_json_str(o, "network.subnet", ""), "198.1", 5) == 0, "status: its subnet %s",
       ms_json_str(o, "network.subnet", ""));
    is_str(ms_json_str(o, "network.missing", ""), "", "status: nothing is missing");
    ok(if_nametoindex(bridge) != 0, "the bridge is there");
    int before = rules();
    ok(before > 0, "so are %d rules", before);
    /* Other engines of ours may start at the same time and get in front. */
    is_int(lines("iptables -S FORWARD 2>/dev/null | awk '/^-A/ && !/-j ms-[0-9a-z]+-forward/ "
                 "{ exit } /-j %s-forward/'",
                 bridge),
           2, "  in front of what others have in FORWARD");
    pid_t pid = (pid_t)ms_json_int(o, "pid", 0);
    json_decref(o);
    kill(pid, SIGKILL);
    while (ms_process_start(pid))
        nap();
    ok(start(kind), "killed, and started again");
    is_int(rules(), before, "  the same rules, and none twice");
    stop();
    nothing_left();
}

/* Another's chain, hooked in where ours are. */
static void test_others_rules(void)
{
    char chain[20];
    snprintf(chain, sizeof chain, "t-%d", (int)getpid());
    lines("iptables -w -N %s; iptables -w -A %s -j RETURN; iptables -w -I FORWARD -i %s -j %s",
          chain, chain, chain, chain);
    int before = lines("iptables -S 2>/dev/null | grep -- %s", chain);
    int policy = lines("iptables -S FORWARD 2>/dev/null | grep -x -- '-P FORWARD ACCEPT'");
    is_int(before, 3, "another's rules are there");
    ok(start("docker"), "start beside them");
    is_int(lines("iptables -S 2>/dev/null | grep -- %s", chain), before, "  they are left alone");
    stop();
    is_int(lines("iptables -S 2>/dev/null | grep -- %s", chain), before, "  also by the end");
    is_int(lines("iptables -S FORWARD 2>/dev/null | grep -x -- '-P FORWARD ACCEPT'"), policy,
           "  and so is the policy");
    lines("iptables -w -D FORWARD -i %s -j %s; iptables -w -F %s; iptables -w -X %s", chain, chain,
          chain, chain);
}

/* What it would take belongs to another bridge by now. */
static void test_taken_subnet(void)
{
    char name[16], first[20] = "", *slash;
    snprintf(name, sizeof name, "t-%d", (int)getpid());
    ok(start("docker"), "start, to see which subnet it takes");
    json_t *o = status();
    snprintf(first, sizeof first, "%s", ms_json_str(o, "network.subnet", ""));
    json_decref(o);
    stop();
    slash = strrchr(first, '.');
    if (!ok(slash != NULL, "it took %s", first))
        return;
    *slash = 0;
    lines("ip link add %s type bridge; ip addr add %s.77/28 dev %s; ip link set %s up", name, first,
          name, name);
    ok(start("docker"), "start, with that in use");
    o = status();
    const char *second = ms_json_str(o, "network.subnet", "");
    ok(*second && strncmp(second, first, strlen(first)) != 0, "  it took %s", second);
    json_decref(o);
    stop();
    lines("ip link delete %s", name);
}

/* In a mount namespace where iptables cannot be executed. */
static void without_iptables(const char *kind)
{
    char real[4096];
    if (unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        !realpath("/usr/sbin/iptables-restore", real) ||
        mount("/dev/null", real, NULL, MS_BIND, NULL))
        _exit(77);
    char *path = NULL;
    if (moonsand_embedded_start(&path, dir, kind, NULL))
        _exit(1);
    json_t *o = status();
    const char *why = ms_json_str(o, "network.missing", "");
    diag("%s", why);
    bool good =
        strstr(why, "iptables") && !json_object_get(json_object_get(o, "network"), "bridge");
    _exit(moonsand_embedded_stop(dir, NULL) == 0 && good ? 0 : 2);
}

static void test_no_iptables(const char *kind)
{
    int code = -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        without_iptables(kind);
    waitpid(child, &code, 0);
    if (WIFEXITED(code) && WEXITSTATUS(code) == 77)
        skip("no mount namespace can be made here");
    else
        is_int(code, 0, "%s: without iptables it starts, and says that there is no network", kind);
    nothing_left();
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *where)
{
    (void)st;
    (void)what;
    (void)where;
    remove(path);
    return 0;
}

static bool usable(void)
{
    char *dockerd = NULL, *podman = NULL, *iptables = NULL;
    ms_embedded_program(&dockerd, "dockerd", NULL);
    ms_embedded_program(&podman, "podman", NULL);
    ms_embedded_program(&iptables, "iptables-restore", NULL);
    bool good = geteuid() == 0 && dockerd && podman && iptables &&
                lines("iptables -S FORWARD 2>/dev/null") > 0;
    ms_free(dockerd);
    ms_free(podman);
    ms_free(iptables);
    return good;
}

int main(void)
{
    ms_embedded e;
    snprintf(dir, sizeof dir, "/tmp/ms-network.XXXXXX");
    if (!mkdtemp(dir) || ms_embedded_paths(&e, dir, NULL, NULL))
        return 2;
    ms_embedded_net_name(bridge, &e);
    ms_embedded_free(&e);
    alarm(300);
    if (usable()) {
        test_life("docker");
        test_life("podman");
        test_others_rules();
        test_taken_subnet();
        test_no_iptables("docker");
        test_no_iptables("podman");
    } else {
        skip("needs root, dockerd, podman and iptables");
    }
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return done_testing();
}
