/* The network of an embedded engine: a bridge whose containers reach the outside, for image builds
 * and the exception network = "bridge".
 *
 * A bridge of our own also keeps docker0 alive: `dockerd --bridge=none` deletes it, whoever's it is
 * (moby, daemon_unix.go: removeDefaultBridgeInterface), and the system's containers lose their
 * network. With a bridge named it leaves docker0 alone. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "embedded.h"
#include "error.h"
#include "file.h"

/* 198.18.0.0/15 is for measuring network devices (RFC 2544): nothing on the Internet has such an
 * address, and no engine takes one by itself. Each bridge gets the first /24 that no route and no
 * address of this machine touches. */
#define POOL 0xC6120000U
#define POOL_NETS 512U
#define NET_MASK 0xFFFFFF00U
#define ROUTES_MAX (4U << 20)

typedef struct taken {
    uint32_t net, mask; /* host byte order */
} taken;

void ms_embedded_net_name(char name[IFNAMSIZ], const ms_embedded *e)
{
    snprintf(name, IFNAMSIZ, "ms-%.12s", e->tag);
}

static bool overlap(uint32_t net, const taken *t)
{
    uint32_t both = NET_MASK & t->mask; /* masks have their ones in front: the shorter of the two */
    return t->mask != 0 && (net & both) == (t->net & both);
}

static bool in_routes(uint32_t net, const char *routes)
{
    for (const char *line = strchr(routes, '\n'); line; line = strchr(line + 1, '\n')) {
        unsigned to, mask;
        if (sscanf(line, " %*s %x %*x %*x %*d %*d %*d %x", &to, &mask) != 2)
            continue;
        taken t = {ntohl(to), ntohl(mask)};
        if (overlap(net, &t))
            return true;
    }
    return false;
}

static bool in_addresses(uint32_t net, const struct ifaddrs *list)
{
    for (; list; list = list->ifa_next) {
        struct sockaddr_in a, m;
        if (!list->ifa_addr || !list->ifa_netmask || list->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&a, list->ifa_addr, sizeof a);
        memcpy(&m, list->ifa_netmask, sizeof m);
        taken t = {ntohl(a.sin_addr.s_addr), ntohl(m.sin_addr.s_addr)};
        if (overlap(net, &t))
            return true;
    }
    return false;
}

/* From a place that the tag says, so that two engines that start together look at different ones.
 */
static int free_net(uint32_t *out, const ms_embedded *e, moonsand_error **err)
{
    struct ifaddrs *addresses;
    ms_buf routes = {0};
    uint32_t first = (uint32_t)strtoul(e->tag + 8, NULL, 16);
    if (ms_file_read(&routes, "/proc/net/route", ROUTES_MAX, err))
        return -1;
    if (getifaddrs(&addresses)) {
        ms_buf_free(&routes);
        return ms_fail_errno(err, errno, "addresses of this machine");
    }
    uint32_t net = 0;
    bool found = false;
    for (uint32_t i = 0; i < POOL_NETS && !found; i++) {
        net = POOL + ((first + i) % POOL_NETS << 8);
        found = !in_routes(net, routes.data ? routes.data : "") && !in_addresses(net, addresses);
    }
    freeifaddrs(addresses);
    ms_buf_free(&routes);
    *out = net;
    return found ? 0 : ms_fail(err, MOONSAND_E_UNSUPPORTED, "all of 198.18.0.0/15 is in use");
}

static int set_address(int fd, const char *name, unsigned long what, uint32_t address)
{
    struct ifreq req;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(address)}};
    memset(&req, 0, sizeof req);
    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    memcpy(&req.ifr_addr, &in, sizeof in);
    return ioctl(fd, what, &req);
}

static int set_flags(int fd, const char *name, short flags)
{
    struct ifreq req;
    memset(&req, 0, sizeof req);
    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    req.ifr_flags = flags;
    return ioctl(fd, SIOCSIFFLAGS, &req);
}

static int make(const char *name, uint32_t net)
{
    char path[100];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int rc = ioctl(fd, SIOCBRADDBR, name) == 0 || errno == EEXIST ? 0 : -1;
    /* No second way to this machine, past the rules for IPv4. Absent where IPv6 is. */
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    if (rc == 0)
        ms_embedded_write_setting(path, "1");
    if (rc == 0 && (set_address(fd, name, SIOCSIFADDR, net + 1) ||
                    set_address(fd, name, SIOCSIFNETMASK, NET_MASK) || set_flags(fd, name, IFF_UP)))
        rc = -1;
    int why = errno;
    close(fd);
    errno = why;
    return rc;
}

static void unmake(const char *name)
{
    int fd = if_nametoindex(name) ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return;
    set_flags(fd, name, 0); /* down, which its removal asks for */
    ioctl(fd, SIOCBRDELBR, name);
    close(fd);
}

int ms_embedded_write_setting(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, value, strlen(value));
    int why = errno;
    close(fd);
    errno = why;
    return n < 0 ? -1 : 0;
}

int ms_embedded_net_up(ms_embedded_net *net, const ms_embedded *e, moonsand_error **err)
{
    moonsand_error *why = NULL;
    uint32_t at = 0;
    char own[IFNAMSIZ];
    memset(net, 0, sizeof *net);
    ms_embedded_net_name(own, e);
    int rc = free_net(&at, e, &why);
    if (rc == 0 && make(own, at)) {
        rc = ms_fail_errno(&why, errno, "cannot make the bridge %s", own);
        unmake(own);
    } else if (rc == 0) {
        struct in_addr in = {htonl(at)};
        snprintf(net->bridge, sizeof net->bridge, "%s", own);
        snprintf(net->subnet, sizeof net->subnet, "%s/24", inet_ntoa(in));
        rc = ms_netfilter_add(net, &why);
    }
    if (rc && moonsand_error_code(why) == MOONSAND_E_NOMEM) {
        moonsand_error_free(why);
        ms_embedded_net_down(e);
        return ms_fail_nomem(err);
    }
    if (rc)
        ms_printable(net->missing, sizeof net->missing, moonsand_error_message(why),
                     strlen(moonsand_error_message(why)));
    moonsand_error_free(why);
    return 0;
}

void ms_embedded_net_down(const ms_embedded *e)
{
    char own[IFNAMSIZ];
    ms_embedded_net_name(own, e);
    ms_netfilter_remove(own);
    unmake(own);
}
