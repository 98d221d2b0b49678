/* The core's only door to the heap, so that tests can make each allocation fail in turn
 * (MS_FAULT_ALLOC). All return NULL when there is no memory. */
#ifndef MS_MEM_H
#define MS_MEM_H

#include <stdarg.h>
#include <stddef.h>

void *ms_malloc(size_t size);
void *ms_calloc(size_t count, size_t size);
void *ms_realloc(void *p, size_t size);
void ms_free(void *p);
char *ms_strdup(const char *s);              /* NULL gives NULL */
char *ms_strndup(const char *s, size_t len); /* copies exactly len bytes and adds a NUL */
char *ms_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *ms_vasprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

#ifdef MS_FAULT_ALLOC
/* Lets n more allocations succeed and fails the next one (n < 0: never). ms_fault_count() is how
 * many were asked for since ms_fault_set(); ms_fault_live() how many blocks are not yet freed. */
void ms_fault_set(long n);
long ms_fault_count(void);
long ms_fault_live(void);
#endif

/* A growing byte string. Zero-initialised is empty; data is NUL-terminated when it is not NULL. */
typedef struct ms_buf {
    char *data;
    size_t len, cap;
} ms_buf;

/* All return 0, or -1 when there is no memory (the contents are then unchanged). */
int ms_buf_add(ms_buf *b, const void *p, size_t n);
int ms_buf_adds(ms_buf *b, const char *s);
int ms_buf_addf(ms_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int ms_buf_reserve(ms_buf *b, size_t more);
void ms_buf_drop(ms_buf *b, size_t n); /* removes the first n bytes */
void ms_buf_free(ms_buf *b);           /* and makes it empty */

#endif
