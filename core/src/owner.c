#include "owner.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"

#define ID_MAX 64
#define UID_TRIES 4096

/* The id's first word of hex digits and dashes, "-" when there is none. */
static void read_id(const char *path, char out[ID_MAX])
{
    if (ms_file_peek(out, ID_MAX, path) < 0)
        out[0] = 0;
    size_t n = strspn(out, "0123456789abcdefABCDEF-");
    out[n] = 0;
    if (n < 8)
        memcpy(out, "-", 2);
}

static unsigned long long pid_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (unsigned long long)st.st_ino : 0;
}

typedef enum life { LIVES, DEAD, UNKNOWN } life;

/* When a process began, in ticks since the boot: with the pid it names one process for ever. */
static life process_start(unsigned long long pid, unsigned long long *start)
{
    char path[64], stat_line[1024];
    snprintf(path, sizeof path, "/proc/%llu/stat", pid);
    if (ms_file_peek(stat_line, sizeof stat_line, path) <= 0)
        return errno == ENOENT || errno == ESRCH ? DEAD : UNKNOWN;
    /* The name, in parentheses, may hold anything, even ") R 1 1". */
    const char *p = strrchr(stat_line, ')');
    char state = 0;
    if (!p || sscanf(p + 1,
                     " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                     "%llu",
                     &state, start) != 2)
        return UNKNOWN;
    return state == 'Z' || state == 'X' ? DEAD : LIVES;
}

char *ms_owner_label(moonsand_error **err)
{
    char machine[ID_MAX], boot[ID_MAX];
    unsigned long long start = 0, pid = (unsigned long long)getpid();
    read_id("/etc/machine-id", machine);
    read_id("/proc/sys/kernel/random/boot_id", boot);
    if (process_start(pid, &start) != LIVES) {
        ms_fail(err, MOONSAND_E_IO, "/proc/self/stat cannot be read; is /proc mounted?");
        return NULL;
    }
    char *label = ms_asprintf("%s/%s/%llu/%llu/%llu", machine, boot, pid_namespace(), pid, start);
    if (!label)
        ms_fail_nomem(err);
    return label;
}

/* Takes the part up to the next slash (or the end); false when it is empty or too long. */
static bool take_part(const char **p, char out[ID_MAX])
{
    size_t n = strcspn(*p, "/");
    if (n == 0 || n >= ID_MAX)
        return false;
    memcpy(out, *p, n);
    out[n] = 0;
    *p += n + ((*p)[n] == '/');
    return true;
}

static bool take_number(const char **p, unsigned long long *out)
{
    char part[ID_MAX];
    if (!take_part(p, part) || part[strspn(part, "0123456789")] || strlen(part) > 18)
        return false;
    *out = 0;
    for (const char *d = part; *d; d++)
        *out = *out * 10 + (unsigned long long)(*d - '0');
    return true;
}

static life owner_life(const char *label)
{
    char machine[ID_MAX], boot[ID_MAX], here_machine[ID_MAX], here_boot[ID_MAX];
    unsigned long long ns, pid, start, now;
    if (!label || !take_part(&label, machine) || !take_part(&label, boot) ||
        !take_number(&label, &ns) || !take_number(&label, &pid) || !take_number(&label, &start) ||
        *label || pid == 0)
        return UNKNOWN;
    read_id("/etc/machine-id", here_machine);
    read_id("/proc/sys/kernel/random/boot_id", here_boot);
    if (strcmp(boot, "-") == 0 || strcmp(here_boot, "-") == 0)
        return UNKNOWN;
    /* A boot id names one kernel, whatever containers say about their machine. A machine id is only
     * believed when it says that this very machine was booted again since. */
    if (strcmp(boot, here_boot) != 0)
        return strcmp(machine, "-") != 0 && strcmp(machine, here_machine) == 0 ? DEAD : UNKNOWN;
    if (ns == 0 || ns != pid_namespace())
        return UNKNOWN;
    life l = process_start(pid, &now);
    if (l == DEAD && kill((pid_t)pid, 0) && errno == EPERM)
        return UNKNOWN; /* /proc is mounted so that it hides others' processes */
    return l == LIVES && now != start ? DEAD : l;
}

int moonsand_owner_label(char **out, moonsand_error **err)
{
    *out = ms_owner_label(err);
    return *out ? 0 : -1;
}

bool moonsand_owner_alive(const char *owner_label, int64_t lease_epoch_s)
{
    life l = owner_life(owner_label);
    return l == LIVES || (l == UNKNOWN && (int64_t)time(NULL) < lease_epoch_s);
}

/* ---- uids and random ---------------------------------------------------------------------- */

static int fill_random(void *out, size_t n, moonsand_error **err)
{
    for (size_t at = 0; at < n;) {
        ssize_t k = getrandom((char *)out + at, n - at, 0);
        if (k < 0 && errno != EINTR)
            return ms_fail_errno(err, errno, "getrandom");
        at += k > 0 ? (size_t)k : 0;
    }
    return 0;
}

int ms_uid_take(uint32_t *uid, int *fd, uint32_t low, uint32_t high, moonsand_error **err)
{
    *fd = -1;
    uint32_t begin;
    if (low > high)
        return ms_fail(err, MOONSAND_E_INVALID, "uids from %u to %u: none", low, high);
    /* From a random place: two hosts that share an engine then seldom meet, and few are tried. */
    if (fill_random(&begin, sizeof begin, err))
        return -1;
    uint64_t span = (uint64_t)high - low + 1;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return ms_fail_errno(err, errno, "socket");
    for (uint64_t i = 0; i < span && i < UID_TRIES; i++) {
        uint32_t candidate = low + (uint32_t)((begin + i) % span);
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        /* Bound, never listening: the name is all that counts. */
        int n = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "moonsand-uid-%u", candidate);
        socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
        if (bind(s, (struct sockaddr *)&a, len) == 0) {
            *uid = candidate;
            *fd = s;
            return 0;
        }
        if (errno != EADDRINUSE) {
            int why = errno;
            close(s);
            return ms_fail_errno(err, why, "bind");
        }
    }
    close(s);
    return ms_fail(err, MOONSAND_E_CONFLICT, "no uid from %u to %u is free", low, high);
}

int ms_random_hex(char *out, size_t n, moonsand_error **err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char *upper = (unsigned char *)out + n;
    out[0] = 0;
    /* Into the upper half, so that writing two digits for each byte never overtakes the reading. */
    if (fill_random(upper, n, err))
        return -1;
    for (size_t i = 0; i < n; i++) {
        unsigned char b = upper[i];
        out[2 * i] = digits[b >> 4];
        out[2 * i + 1] = digits[b & 15];
    }
    out[2 * n] = 0;
    return 0;
}
