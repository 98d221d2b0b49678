/* The few things of a C library that are needed. */
#include <fcntl.h>

#include "inner.h"

/* The compiler calls these by name. */
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int c, size_t n);

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    unsigned char *d = to;
    const unsigned char *s = from;
    while (n-- > 0)
        *d++ = *s++;
    return to;
}

void *memset(void *to, int c, size_t n)
{
    unsigned char *d = to;
    while (n-- > 0)
        *d++ = (unsigned char)c;
    return to;
}

size_t text_len(const char *s)
{
    size_t n = 0;
    while (s[n] != 0)
        n++;
    return n;
}

char *text_add(char *to, const char *s)
{
    while (*s != 0)
        *to++ = *s++;
    *to = 0;
    return to;
}

char *text_number(char *to, uint64_t v)
{
    char digits[24];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    while (n > 0)
        *to++ = digits[--n];
    *to = 0;
    return to;
}

bool text_is(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

long open_path(const char *path, int flags)
{
    return raw(openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

long put_file(const char *path, const char *text)
{
    long fd = open_path(path, O_WRONLY);
    if (fd < 0)
        return fd;
    long n = raw(write, fd, text, text_len(text));
    (void)raw(close, fd);
    return n < 0 ? n : 0;
}

long get_file(const char *path, char *out, size_t size)
{
    long fd = open_path(path, O_RDONLY);
    if (fd < 0)
        return fd;
    size_t used = 0;
    long n = 0;
    while (used < size - 1 && (n = raw(read, fd, out + used, size - 1 - used)) > 0)
        used += (size_t)n;
    (void)raw(close, fd);
    out[used] = 0;
    return n < 0 ? n : (long)used;
}

/* Of a directory, "." and ".." not counted, and nor is the descriptor that reads it. */
long count_entries(const char *path)
{
    _Alignas(8) char buf[2048];
    long fd = open_path(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fd;
    long count = 0, n;
    while ((n = raw(getdents64, fd, buf, sizeof buf)) > 0)
        for (long at = 0; at < n; count++)
            at += *(const unsigned short *)(const void *)(buf + at + 16); /* d_reclen */
    (void)raw(close, fd);
    return n < 0 ? n : count - 3;
}
