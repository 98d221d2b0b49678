/* Packing, unpacking and running a program with each allocation failing in turn: an error or the
 * whole work, nothing leaked, nothing left running. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "loop.h"
#include "mem.h"
#include "pack.h"
#include "process.h"
#include "tap.h"

static char top[64];

static int send_all(moonsand_pack *p, moonsand_error **err)
{
    ms_pack_reader *r;
    char piece[5000];
    ssize_t n = ms_pack_reader_new(&r, p, true, err);
    while (n >= 0 && (n = ms_pack_reader_read(r, piece, sizeof piece, err)) > 0)
        ;
    ms_pack_reader_free(r);
    return (int)n;
}

static int pack(moonsand_error **err)
{
    moonsand_pack *p;
    bool done;
    char file[128];
    moonsand_tree_options o = MOONSAND_TREE_OPTIONS_INIT;
    static const char *const keep[] = {"Dockerfile"};
    o.ignore = "*.c\n!d/x.c\n";
    o.ignore_len = strlen(o.ignore);
    o.keep = keep;
    o.keep_count = 1;
    snprintf(file, sizeof file, "%s/a", top);
    int rc = moonsand_pack_new(&p, err);
    if (rc == 0)
        rc = moonsand_pack_data(p, "x/y", "data", 4, 0, err) ||
                     moonsand_pack_file(p, "named", file, 0, err) ||
                     moonsand_pack_tree(p, "in", top, &o, err) ||
                     moonsand_pack_measure(p, 0, &done, err) || send_all(p, err)
                 ? -1
                 : 0;
    moonsand_pack_free(p);
    return rc;
}

static int untar(moonsand_error **err)
{
    static const char header[] = "f\0";
    char block[2048] = {0};
    memcpy(block, header, 1);
    memcpy(block + 124, "00000000003", 11);
    memcpy(block + 257, "ustar\00000", 8);
    block[156] = '0';
    memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < 512; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
    memcpy(block + 512, "abc", 3);
    moonsand_untar *u;
    const moonsand_tar_entry *e = NULL;
    int rc = moonsand_untar_open(&u, block, sizeof block, 0, 0, err);
    while (rc == 0 && (rc = moonsand_untar_next(u, &e, err)) == 0 && e != NULL)
        ;
    moonsand_untar_close(u);
    return rc;
}

typedef struct ran {
    bool done;
    size_t bytes;
    moonsand_error *err;
} ran;

static void on_done(void *arg, const moonsand_command_result *result, moonsand_error *err)
{
    ran *r = arg;
    r->done = true;
    r->bytes = result != NULL ? (size_t)result->out.bytes : 0;
    r->err = err;
}

static int command(moonsand_error **err)
{
    static const char *const argv[] = {"sh", "-c", "cat; echo more"}, *const env[] = {"A=1"};
    moonsand_loop *loop;
    moonsand_command *c = NULL;
    ran r = {0};
    moonsand_command_options o = MOONSAND_COMMAND_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 3;
    o.env = env;
    o.envc = 1;
    o.stdin_data = "input";
    o.stdin_len = 5;
    o.on_done = on_done;
    o.arg = &r;
    int rc = moonsand_loop_new(&loop, err);
    if (rc == 0)
        rc = moonsand_command_start(&c, loop, &o, err);
    int64_t until = ms_now_ns() + 10 * MS_S;
    while (rc == 0 && !r.done && ms_now_ns() < until) {
        moonsand_loop_wait(loop, 100 * MS_MS, NULL);
        moonsand_loop_step(loop, NULL);
    }
    if (rc == 0 && (!r.done || r.err != NULL || r.bytes != 10))
        fail("a started command ends with its output");
    moonsand_error_free(r.err);
    moonsand_command_free(c);
    moonsand_loop_free(loop);
    return rc;
}

static void each(const char *what, int (*work)(moonsand_error **err))
{
    int failures = 0;
    for (long n = 0; n < 5000; n++) {
        moonsand_error *err = NULL;
        ms_fault_set(n);
        int rc = work(&err);
        ms_fault_set(-1);
        if (rc != 0 && moonsand_error_code(err) != MOONSAND_E_NOMEM)
            fail("%s, allocation %ld: %s", what, n, moonsand_error_message(err));
        moonsand_error_free(err);
        if (ms_fault_live() != 0) {
            fail("%s, allocation %ld: %ld blocks leaked", what, n, ms_fault_live());
            return;
        }
        failures += rc != 0;
        if (rc == 0 && ms_fault_count() == 0)
            break;
        /* More allocations than the work needs: it went well, and none failed. */
        if (rc == 0 && n > 2 * failures + 50)
            break;
    }
    ok(failures >= 3, "%s: %d failures, all told, nothing leaked", what, failures);
    is_int(waitpid(-1, NULL, WNOHANG), -1, "%s: no child is left", what);
    is_int(errno, ECHILD, "%s: none at all", what);
}

static void write_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", top, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, "text", 4) != 4)
        fail("%s", path);
    close(fd);
}

int main(void)
{
    char path[128];
    snprintf(top, sizeof top, "/tmp/ms-fault-XXXXXX");
    if (mkdtemp(top) == NULL)
        return 1;
    write_file("a");
    write_file("b.c");
    snprintf(path, sizeof path, "%s/d", top);
    mkdir(path, 0755);
    write_file("d/x.c");
    snprintf(path, sizeof path, "%s/link", top);
    if (symlink("../..", path) != 0)
        fail("symlink");
    each("pack", pack);
    each("untar", untar);
    each("command", command);
    ms_remove_tree(top);
    return done_testing();
}
