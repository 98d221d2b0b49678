/* Memory that is mapped shared is the same memory in the server and in each of its copies, however
 * often they fork: what one run wrote there, the next would read. None may be left by what was
 * preloaded. */
#include <fcntl.h>
#include <sys/mman.h>

#include "inner.h"

/* One line of /proc/self/maps: "START-END rwxs OFFSET DEVICE INODE    NAME". */
static const char *hex(const char *at, uint64_t *out)
{
    for (*out = 0; *at != 0 && *at != '-' && *at != ' '; at++)
        *out = *out * 16 + (uint64_t)(*at >= 'a' ? *at - 'a' + 10 : *at - '0');
    return *at != 0 ? at + 1 : at;
}

static const char *name_of(const char *at)
{
    for (int field = 0; field < 4 && *at != 0; field++) {
        while (*at != 0 && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return *at != 0 ? at : "without a name";
}

/* One that is only read now would become writable by a call that any program has, unless its file
 * was opened for reading only; the kernel knows, and is asked. */
static bool is_shared(const char *line, const char **name)
{
    uint64_t start, end;
    const char *mode = hex(hex(line, &start), &end);
    if (text_len(mode) < 5 || mode[3] != 's')
        return false;
    *name = name_of(mode);
    return mode[1] == 'w' || raw(mprotect, start, end - start, PROT_READ | PROT_WRITE) == 0;
}

bool shares_nothing(void)
{
    char buf[1024], line[512];
    const char *name = 0;
    size_t used = 0;
    long fd = open_path("/proc/self/maps", O_RDONLY), n = fd;
    while (fd >= 0 && (n = raw(read, fd, buf, sizeof buf)) > 0) {
        for (long i = 0; i < n && name == 0; i++) {
            if (buf[i] != '\n') {
                if (used < sizeof line - 1) /* of a long name, the beginning */
                    line[used++] = buf[i];
                continue;
            }
            line[used] = 0;
            used = 0;
            if (!is_shared(line, &name))
                name = 0;
        }
        if (name != 0)
            break;
    }
    if (fd >= 0)
        (void)raw(close, fd);
    if (name != 0)
        return wrong(name, 0);
    return n == 0 || wrong("/proc/self/maps cannot be read", n);
}
