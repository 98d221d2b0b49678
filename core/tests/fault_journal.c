/* Opening, reading and writing a journal with each allocation failing in turn: an error or the
 * whole work, nothing leaked, and no whole line is lost. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "journal.h"
#include "mem.h"
#include "open_fds.h"
#include "tap.h"

static char path[] = "/tmp/moonsand-fault-journal-XXXXXX";

/* Two lines stand there, one of them long, and a torn one. */
static void prepare(int fd)
{
    char *line = malloc(300000);
    memset(line, 'x', 300000);
    line[299999] = '\n';
    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0 ||
        ms_write_all(fd, "head\n", 5) != 0 || ms_write_all(fd, line, 300000) != 0 ||
        ms_write_all(fd, "torn", 4) != 0)
        fail("writing %s", path);
    free(line);
}

static int work(moonsand_error **err)
{
    moonsand_journal *j;
    moonsand_journal_options o = MOONSAND_JOURNAL_OPTIONS_INIT;
    o.mode = MOONSAND_JOURNAL_CONTINUE;
    if (moonsand_journal_open(&j, path, &o, err) != 0)
        return -1;
    const char *line;
    size_t len;
    int rc;
    while ((rc = moonsand_journal_next(j, &line, &len, err)) == 0 && line != NULL)
        ;
    if (rc == 0) {
        moonsand_journal *second = NULL;
        if (moonsand_journal_open(&second, path, &o, err) == 0)
            fail("two writers");
        if (moonsand_error_code(*err) == MOONSAND_E_CONFLICT) {
            moonsand_error_free(*err);
            *err = NULL;
        } else {
            rc = -1;
        }
    }
    if (rc == 0)
        rc = moonsand_journal_append(j, "more", 4, err);
    if (moonsand_journal_close(j, rc == 0 ? err : NULL) != 0)
        rc = -1;
    return rc;
}

int main(void)
{
    int fd = mkostemp(path, O_CLOEXEC);
    int files = open_fds(), failures = 0;
    for (long n = 0;; n++) {
        moonsand_error *err = NULL;
        prepare(fd);
        ms_fault_set(n);
        int rc = work(&err);
        long asked = ms_fault_count();
        ms_fault_set(-1);
        if (rc != 0 && moonsand_error_code(err) != MOONSAND_E_NOMEM)
            fail("allocation %ld: %s", n, moonsand_error_message(err));
        moonsand_error_free(err);
        if (ms_fault_live() != 0)
            fail("allocation %ld: %ld blocks leaked", n, ms_fault_live());
        struct stat st;
        if (fstat(fd, &st) != 0 || st.st_size != (rc == 0 ? 300010 : 300009))
            fail("allocation %ld: the file has %lld bytes", n, (long long)st.st_size);
        failures += rc != 0;
        if (asked <= n) {
            ok(rc == 0 && n > 3, "%ld allocations", n);
            break;
        }
    }
    ok(failures > 3, "%d of them failed what needed them", failures);
    is_int(open_fds(), files, "no descriptor is left");
    close(fd);
    unlink(path);
    return done_testing();
}
