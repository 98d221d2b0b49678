/* What the process has mapped, while it may still look at itself. */
#include <fcntl.h>

#include "inner.h"

/* A line of /proc/self/maps: "start-end perms offset device inode   name". */
static uint64_t hex(const char **p)
{
    uint64_t v = 0;
    for (; (**p >= '0' && **p <= '9') || (**p >= 'a' && **p <= 'f'); ++*p)
        v = v * 16 + (uint64_t)(**p >= 'a' ? **p - 'a' + 10 : **p - '0');
    return v;
}

static const char *word(const char *p)
{
    while (*p != 0 && *p != ' ')
        p++;
    while (*p == ' ')
        p++;
    return p;
}

static bool take_line(const char *line, bool (*each)(const struct mapping *, void *), void *arg)
{
    struct mapping m;
    const char *p = line;
    m.start = hex(&p);
    p += *p == '-';
    m.end = hex(&p);
    p = word(p);
    m.writable = p[0] != 0 && p[1] == 'w';
    m.shared = p[0] != 0 && p[1] != 0 && p[2] != 0 && p[3] == 's';
    for (int i = 0; i < 3; i++)
        p = word(p);
    m.anonymous = p[0] == '0' && (p[1] == ' ' || p[1] == 0);
    m.name = word(p);
    return each(&m, arg);
}

long maps_each(bool (*each)(const struct mapping *m, void *arg), void *arg)
{
    char buf[8192]; /* a name that does not fit is cut */
    size_t used = 0;
    long fd = open_path("/proc/self/maps", O_RDONLY), n;
    if (fd < 0)
        return fd;
    bool more = true, cut = false;
    while (more && (n = raw(read, fd, buf + used, sizeof buf - 1 - used)) > 0) {
        used += (size_t)n;
        size_t begin = 0;
        for (size_t i = used - (size_t)n; i < used && more; i++) {
            if (buf[i] != '\n')
                continue;
            buf[i] = 0;
            more = cut || take_line(buf + begin, each, arg);
            cut = false;
            begin = i + 1;
        }
        if (begin == 0 && used == sizeof buf - 1) {
            buf[used] = 0;
            more = cut || take_line(buf, each, arg);
            cut = true;
            begin = used;
        }
        for (size_t i = begin; i < used; i++)
            buf[i - begin] = buf[i];
        used -= begin;
    }
    (void)raw(close, fd);
    return more && n < 0 ? n : 0;
}
