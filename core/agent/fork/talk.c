/* Messages to and from the agent. */
#include <errno.h>
#include <sys/socket.h>

#include "inner.h"

#undef errno

long say(const void *message, size_t len, int fd)
{
    struct iovec part = {(void *)(uintptr_t)message, len};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } with = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                       .cmsg_level = SOL_SOCKET,
                       .cmsg_type = SCM_RIGHTS}};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        *(int *)(void *)CMSG_DATA(&with.head) = fd;
        m.msg_control = &with;
        m.msg_controllen = sizeof with.space;
    }
    long r;
    do
        r = raw(sendmsg, CONTROL_FD, &m, MSG_NOSIGNAL);
    while (r == -EINTR);
    return r;
}

long hear(void *out, size_t size, int *fds, size_t most)
{
    struct iovec part = {out, size};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(JOB_FD_COUNT * sizeof(int))];
    } with;
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = most > 0 ? &with : 0,
                       .msg_controllen = most > 0 ? sizeof with.space : 0};
    long r;
    do
        r = raw(recvmsg, CONTROL_FD, &m, MSG_CMSG_CLOEXEC);
    while (r == -EINTR);
    for (size_t i = 0; i < most; i++)
        fds[i] = -1;
    if (r <= 0 || m.msg_controllen < sizeof(struct cmsghdr) || with.head.cmsg_type != SCM_RIGHTS)
        return r;
    size_t n = (with.head.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n && i < most; i++)
        fds[i] = ((const int *)(const void *)CMSG_DATA(&with.head))[i];
    return r;
}
