#include "mem.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moonsand.h"

#ifdef MS_FAULT_ALLOC

#include <stdatomic.h>

/* Atomic because a test may run two loops in two threads under the same build. */
static atomic_long fault_left = -1;
static atomic_long fault_asked;
static atomic_long fault_blocks;

void ms_fault_set(long n)
{
    atomic_store(&fault_left, n);
    atomic_store(&fault_asked, 0);
}

long ms_fault_count(void)
{
    return atomic_load(&fault_asked);
}

long ms_fault_live(void)
{
    return atomic_load(&fault_blocks);
}

static int fault_now(void)
{
    atomic_fetch_add(&fault_asked, 1);
    return atomic_load(&fault_left) >= 0 && atomic_fetch_sub(&fault_left, 1) == 0;
}

static void *fault_born(void *p)
{
    if (p != NULL)
        atomic_fetch_add(&fault_blocks, 1);
    return p;
}

#define FAULT_NOW() fault_now()
#define FAULT_BORN(p) fault_born(p)
#define FAULT_DIED() atomic_fetch_sub(&fault_blocks, 1)

#else

#define FAULT_NOW() 0
#define FAULT_BORN(p) (p)
#define FAULT_DIED() ((void)0)

#endif

/* Size 0 becomes 1, so that NULL always means that there is no memory. */
void *ms_malloc(size_t size)
{
    if (FAULT_NOW())
        return NULL;
    return FAULT_BORN(malloc(size != 0 ? size : 1));
}

void *ms_calloc(size_t count, size_t size)
{
    if (FAULT_NOW())
        return NULL;
    if (count == 0 || size == 0)
        count = size = 1;
    return FAULT_BORN(calloc(count, size));
}

void *ms_realloc(void *p, size_t size)
{
    if (p == NULL)
        return ms_malloc(size);
    if (FAULT_NOW())
        return NULL;
    return realloc(p, size != 0 ? size : 1);
}

void ms_free(void *p)
{
    if (p == NULL)
        return;
    FAULT_DIED();
    free(p);
}

void moonsand_free(void *p)
{
    ms_free(p);
}

char *ms_strdup(const char *s)
{
    return s != NULL ? ms_strndup(s, strlen(s)) : NULL;
}

char *ms_strndup(const char *s, size_t len)
{
    if (len == SIZE_MAX)
        return NULL;
    char *copy = ms_malloc(len + 1);
    if (copy == NULL)
        return NULL;
    if (len != 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

/* Not vasprintf(): its block would come from the libc's malloc, past the fault counter. */
char *ms_vasprintf(const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (len < 0)
        return NULL;
    char *text = ms_malloc((size_t)len + 1);
    if (text != NULL)
        vsnprintf(text, (size_t)len + 1, fmt, ap);
    return text;
}

char *ms_asprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = ms_vasprintf(fmt, ap);
    va_end(ap);
    return text;
}

int ms_buf_reserve(ms_buf *b, size_t more)
{
    if (more >= SIZE_MAX / 2 - b->len)
        return -1;
    size_t need = b->len + more + 1;
    if (need <= b->cap)
        return 0;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap *= 2;
    char *data = ms_realloc(b->data, cap);
    if (data == NULL)
        return -1;
    b->data = data;
    b->cap = cap;
    b->data[b->len] = '\0';
    return 0;
}

int ms_buf_add(ms_buf *b, const void *p, size_t n)
{
    if (ms_buf_reserve(b, n) != 0)
        return -1;
    if (n != 0)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
    return 0;
}

int ms_buf_adds(ms_buf *b, const char *s)
{
    return ms_buf_add(b, s, strlen(s));
}

int ms_buf_addf(ms_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (len < 0 || ms_buf_reserve(b, (size_t)len) != 0)
        return -1;
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)len + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)len;
    return 0;
}

void ms_buf_drop(ms_buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        if (b->data != NULL)
            b->data[0] = '\0';
        return;
    }
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

void ms_buf_free(ms_buf *b)
{
    ms_free(b->data);
    *b = (ms_buf){0};
}
