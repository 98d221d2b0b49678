/* The rules of an embedded engine's bridge, in chains named after it.
 *
 * The engine's own netfilter handling is off: dockerd's chains outlive it, and two daemons fight
 * over them. These here do not depend on what other daemons do; where one has set the policy of
 * FORWARD to DROP, ours come first. By iptables, not in a table of our own: what another table
 * accepts, a DROP there still drops. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "embedded.h"
#include "error.h"
#include "file.h"
#include "loop.h"
#include "process.h"

#define LIMIT_NS (20 * MS_S)
#define FORWARDING "/proc/sys/net/ipv4/ip_forward"

/* Bridges of other engines and of virtual machines, and our own. */
static const char *const others[] = {"ms-+",    "docker+", "br-+", "cni+",
                                     "podman+", "virbr+",  "lxc+", NULL};

/* ---- running iptables ---- */

/* Up to the NULL; each word may hold no blank. */
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int run(const char *program, const char *const *words, const char *input,
               moonsand_error **err)
{
    char *argv[24] = {NULL}, said[200];
    char *const envp[] = {(char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                                   "/sbin:/bin"},
                          NULL};
    int status = 0;
    if (ms_embedded_program(&argv[0], program, err))
        return -1;
    if (!argv[0])
        return ms_fail(err, MOONSAND_E_NOT_FOUND, "%s is not installed: apt-get install iptables",
                       program);
    int rc = 0;
    for (size_t n = 0; words[n] && rc == 0; n++)
        if (n + 2 >= sizeof argv / sizeof *argv || !(argv[n + 1] = ms_strdup(words[n])))
            rc = ms_fail_nomem(err);
    if (rc == 0)
        rc = ms_process_run(&status, argv, envp, input, said, sizeof said, LIMIT_NS, err);
    for (size_t n = 0; argv[n]; n++)
        ms_free(argv[n]);
    if (rc == 0 && status != 0)
        rc = ms_fail(err, MOONSAND_E_UNSUPPORTED, "%s: %s", program, said);
    return rc;
}

/* Until it is not there any more; a start that was killed may have left it more than once. */
static void delete_all(const char *program, const char *const *words)
{
    for (int i = 0; i < 8 && run(program, words, NULL, NULL) == 0; i++) {
    }
}

/* ---- the rules ---- */

static int rules(ms_buf *b, const ms_embedded_net *net)
{
    const char *br = net->bridge;
    int bad = ms_buf_addf(b,
                          "*filter\n"
                          ":%1$s-forward - [0:0]\n"
                          ":%1$s-input - [0:0]\n"
                          /* Nobody may call a container: neither its neighbours nor the LAN. */
                          "-A %1$s-forward -o %1$s -m conntrack --ctstate RELATED,ESTABLISHED "
                          "-j ACCEPT\n"
                          "-A %1$s-forward -o %1$s -j DROP\n"
                          /* Instance metadata (credentials!) has link-local addresses; some clouds
                           * have their DNS there, too. */
                          "-A %1$s-forward -d 169.254.0.0/16 -p udp --dport 53 -j ACCEPT\n"
                          "-A %1$s-forward -d 169.254.0.0/16 -p tcp --dport 53 -j ACCEPT\n"
                          "-A %1$s-forward -d 169.254.0.0/16 -j DROP\n",
                          br);
    for (size_t i = 0; others[i]; i++)
        bad |= ms_buf_addf(b, "-A %s-forward -o %s -j DROP\n", br, others[i]);
    bad |= ms_buf_addf(b,
                       "-A %1$s-forward -j ACCEPT\n"
                       /* This machine's services are not for containers; answers are. */
                       "-A %1$s-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
                       "-A %1$s-input -j DROP\n"
                       "-I FORWARD 1 -i %1$s -j %1$s-forward\n"
                       "-I FORWARD 1 -o %1$s -j %1$s-forward\n"
                       "-I INPUT 1 -i %1$s -j %1$s-input\n"
                       "COMMIT\n"
                       "*nat\n"
                       ":%1$s-nat - [0:0]\n"
                       "-A %1$s-nat -s %2$s -j MASQUERADE\n"
                       "-I POSTROUTING 1 ! -o %1$s -j %1$s-nat\n"
                       "COMMIT\n",
                       br, net->subnet);
    return bad ? -1 : 0;
}

/* Where nothing was forwarded before, turning it on must not make a router of this machine: like
 * Docker, we then drop what no rule accepts. It stays on, as others may have come to need it. */
static int forwarding_on(moonsand_error **err)
{
    char now[8];
    if (ms_file_peek(now, sizeof now, FORWARDING) > 0 && now[0] != '0')
        return 0;
    if (run("iptables", WORDS("-w", "-P", "FORWARD", "DROP"), NULL, err))
        return -1;
    if (ms_embedded_write_setting(FORWARDING, "1"))
        return ms_fail_errno(err, errno, "%s", FORWARDING);
    return 0;
}

/* Frames from one port of a bridge to another pass iptables only if the bridge asks for it, which
 * needs br_netfilter; loading that would change all bridges of the machine. Where it is not loaded,
 * ebtables can do it, on kernels that know the bridge a frame came by. */
static bool keep_apart(const char *br)
{
    static const char *const settings[] = {"nf_call_iptables", "nf_call_ip6tables"};
    char path[100];
    bool good = access("/proc/sys/net/bridge", F_OK) == 0;
    for (size_t i = 0; i < 2 && good; i++) {
        snprintf(path, sizeof path, "/sys/class/net/%s/bridge/%s", br, settings[i]);
        good = ms_embedded_write_setting(path, "1") == 0;
    }
    if (good && access("/proc/net/if_inet6", F_OK) == 0)
        good = run("ip6tables", WORDS("-w", "-I", "FORWARD", "1", "-o", br, "-j", "DROP"), NULL,
                   NULL) == 0;
    return good || run("ebtables", WORDS("-A", "FORWARD", "--logical-in", br, "-j", "DROP"), NULL,
                       NULL) == 0;
}

int ms_netfilter_add(ms_embedded_net *net, moonsand_error **err)
{
    ms_buf text = {0};
    ms_netfilter_remove(net->bridge);
    int rc = rules(&text, net) ? ms_fail_nomem(err) : 0;
    if (rc == 0)
        rc = run("iptables-restore", WORDS("-w", "--noflush"), text.data, err);
    ms_buf_free(&text);
    if (rc == 0)
        rc = forwarding_on(err);
    if (rc == 0)
        net->apart = keep_apart(net->bridge);
    if (rc)
        ms_netfilter_remove(net->bridge);
    return rc;
}

void ms_netfilter_remove(const char *br)
{
    char forward[40], input[40], nat[40];
    snprintf(forward, sizeof forward, "%s-forward", br);
    snprintf(input, sizeof input, "%s-input", br);
    snprintf(nat, sizeof nat, "%s-nat", br);
    /* A chain that is not there is in no rule. */
    if (run("iptables", WORDS("-w", "-F", forward), NULL, NULL) == 0) {
        delete_all("iptables", WORDS("-w", "-D", "FORWARD", "-i", br, "-j", forward));
        delete_all("iptables", WORDS("-w", "-D", "FORWARD", "-o", br, "-j", forward));
        delete_all("iptables", WORDS("-w", "-D", "INPUT", "-i", br, "-j", input));
        run("iptables", WORDS("-w", "-F", input), NULL, NULL);
        run("iptables", WORDS("-w", "-X", input), NULL, NULL);
        run("iptables", WORDS("-w", "-X", forward), NULL, NULL);
        delete_all("ip6tables", WORDS("-w", "-D", "FORWARD", "-o", br, "-j", "DROP"));
        delete_all("ebtables", WORDS("-D", "FORWARD", "--logical-in", br, "-j", "DROP"));
    }
    if (run("iptables", WORDS("-w", "-t", "nat", "-F", nat), NULL, NULL) == 0) {
        delete_all("iptables",
                   WORDS("-w", "-t", "nat", "-D", "POSTROUTING", "!", "-o", br, "-j", nat));
        run("iptables", WORDS("-w", "-t", "nat", "-X", nat), NULL, NULL);
    }
}
