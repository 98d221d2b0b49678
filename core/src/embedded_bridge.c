/* A bridge for the embedded dockerd where the machine has a docker0 already.
 *
 * `dockerd --bridge=none` deletes docker0, whoever's it is (moby, daemon_unix.go:
 * removeDefaultBridgeInterface), and the system's containers lose their network. With a bridge
 * named it leaves docker0 alone. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "embedded.h"
#include "error.h"

/* TEST-NET-1 (RFC 5737) is routed nowhere, so it takes no address away. Sandboxes do not use it. */
#define ADDRESS "192.0.2.1"
#define NETMASK "255.255.255.0"

static void name_of(char name[IFNAMSIZ], const ms_embedded *e)
{
    snprintf(name, IFNAMSIZ, "ms-%.12s", e->tag);
}

static int set_address(int fd, const char *name, unsigned long what, const char *address)
{
    struct ifreq req;
    struct sockaddr_in in = {.sin_family = AF_INET};
    memset(&req, 0, sizeof req);
    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    inet_pton(AF_INET, address, &in.sin_addr);
    memcpy(&req.ifr_addr, &in, sizeof in);
    return ioctl(fd, what, &req);
}

int ms_embedded_bridge_make(char **name, const ms_embedded *e, moonsand_error **err)
{
    *name = NULL;
    if (!if_nametoindex("docker0"))
        return 0;
    char own[IFNAMSIZ];
    name_of(own, e);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool made = fd >= 0 && (ioctl(fd, SIOCBRADDBR, own) == 0 || errno == EEXIST) &&
                set_address(fd, own, SIOCSIFADDR, ADDRESS) == 0 &&
                set_address(fd, own, SIOCSIFNETMASK, NETMASK) == 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (!made)
        return ms_fail_errno(
            err, why,
            "the bridge docker0 belongs to another Docker, and a bridge of our own "
            "(%s) could not be made; use that Docker",
            own);
    *name = ms_strdup(own);
    return *name ? 0 : ms_fail_nomem(err);
}

void ms_embedded_bridge_remove(const ms_embedded *e)
{
    char own[IFNAMSIZ];
    name_of(own, e);
    int fd = if_nametoindex(own) ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return;
    struct ifreq req;
    memset(&req, 0, sizeof req);
    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", own);
    ioctl(fd, SIOCSIFFLAGS, &req); /* no flags: down, which its removal asks for */
    ioctl(fd, SIOCBRDELBR, own);
    close(fd);
}
