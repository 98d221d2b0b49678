/* Memory that is mapped shared is the same memory in the server and in each of its copies, however
 * often they fork: what one run wrote there, the next would read. None may be left by what was
 * preloaded. */
#include <sys/mman.h>

#include "inner.h"

/* One that is only read now would become writable by a call that any program has, unless its file
 * was opened for reading only; the kernel knows, and is asked. */
static bool is_private(const struct mapping *m, void *arg)
{
    bool *found = arg;
    if (!m->shared ||
        (!m->writable && raw(mprotect, m->start, m->end - m->start, PROT_READ | PROT_WRITE) != 0))
        return true;
    *found = true;
    return wrong(m->name[0] != 0 ? m->name : "without a name", 0);
}

bool shares_nothing(void)
{
    bool found = false;
    long err = maps_each(is_private, &found);
    if (err < 0)
        return wrong("/proc/self/maps cannot be read", err);
    return !found;
}
