/* Saving artefacts: what is written, and that no name and no link leads out. */
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "moonsand.h"
#include "tap.h"

static char top[] = "/tmp/moonsand-save-XXXXXX";

static moonsand_code save(const char *dir, const moonsand_artefact *a, size_t n)
{
    moonsand_result r = {.version = 1, .artefacts = a, .artefact_count = n};
    moonsand_error *err = NULL;
    int rc = moonsand_result_save(&r, dir, &err);
    moonsand_code code = moonsand_error_code(err);
    if (rc)
        printf("# %s\n", moonsand_error_message(err));
    moonsand_error_free(err);
    return rc ? code : MOONSAND_OK;
}

static moonsand_code save_one(const char *dir, const char *path)
{
    moonsand_artefact a = {path, "hello", 5, 0644};
    return save(dir, &a, 1);
}

static bool holds(const char *dir, const char *path, const char *want, size_t len)
{
    char name[512], got[64];
    (void)snprintf(name, sizeof name, "%s/%s", dir, path);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, got, sizeof got);
    close(fd);
    return n == (ssize_t)len && memcmp(got, want, len) == 0;
}

static unsigned mode_of(const char *dir, const char *path)
{
    char name[512];
    struct stat st;
    (void)snprintf(name, sizeof name, "%s/%s", dir, path);
    return lstat(name, &st) ? 0 : (unsigned)st.st_mode & 07777;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

int main(void)
{
    if (!mkdtemp(top)) {
        skip("no directory");
        return done_testing();
    }
    (void)umask(022);
    char *dir = ms_asprintf("%s/out", top), *outside = ms_asprintf("%s/outside", top);
    char *link = ms_asprintf("%s/link", top);
    ok(mkdir(outside, 0700) == 0, "a directory outside");

    moonsand_artefact good[] = {
        {"a.txt", "hello", 5, 0644}, {"sub/deep/b", "a\0b", 3, 0755},
        {"sub/c", "", 0, 0400},      {"sub/.hidden", "x", 1, 07777},
        {"..x", "y", 1, 0},
    };
    is_int(save(dir, good, 5), MOONSAND_OK, "five files");
    ok(holds(dir, "a.txt", "hello", 5) && holds(dir, "sub/deep/b", "a\0b", 3) &&
           holds(dir, "sub/c", "", 0),
       "their bytes");
    is_int(mode_of(dir, "a.txt"), 0644, "mode");
    is_int(mode_of(dir, "sub/deep/b"), 0755, "mode");
    is_int(mode_of(dir, "sub/.hidden"), 0755, "no setuid, and the umask counts");
    is_int(save(dir, good, 1), MOONSAND_E_IO, "what is there is not written over");
    is_int(save(dir, NULL, 0), MOONSAND_OK, "nothing to save");

    static const char *const bad[] = {"",          "/",     "/etc/x", "..",          "../x",
                                      "a/../../x", "a//b",  "a/",     ".",           "./x",
                                      "a/.",       "a/./b", "sub/..", "../outside/x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        is_int(save_one(dir, bad[i]), MOONSAND_E_INVALID, "name \"%s\" is refused", bad[i]);
    is_int(save_one(dir, NULL), MOONSAND_E_INVALID, "no name");
    char long_name[5000];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    is_int(save_one(dir, long_name), MOONSAND_E_INVALID, "a name of 4999 bytes");
    for (size_t i = 200; i < sizeof long_name - 1; i += 200)
        long_name[i] = '/';
    is_int(save_one(dir, long_name), MOONSAND_E_INVALID, "a path of 4999 bytes");

    char *name = ms_asprintf("%s/to-dir", dir);
    ok(symlink(outside, name) == 0, "a link to a directory");
    ok(save_one(dir, "to-dir/x") != MOONSAND_OK && !holds(outside, "x", "hello", 5),
       "is not followed");
    ms_free(name);
    name = ms_asprintf("%s/to-file", dir);
    char *victim = ms_asprintf("%s/victim", outside);
    ok(symlink(victim, name) == 0, "a link to a file that is not there");
    ok(save_one(dir, "to-file") != MOONSAND_OK && access(victim, F_OK) != 0, "is not followed");
    ok(save_one(dir, "a.txt/x") != MOONSAND_OK, "a file is no directory");
    ms_free(name);

    ok(symlink(dir, link) == 0, "the caller's own directory may be a link");
    is_int(save_one(link, "by-link"), MOONSAND_OK, "and is followed");
    ok(holds(dir, "by-link", "hello", 5), "to where it leads");
    name = ms_asprintf("%s/no/parent", top);
    is_int(save_one(name, "x"), MOONSAND_E_NOT_FOUND, "the parent has to exist");
    is_int(save_one("", "x"), MOONSAND_E_INVALID, "no directory");
    is_int(moonsand_result_save(NULL, dir, NULL), -1, "no result");
    /* A write that fails leaves no half file. */
    struct rlimit old, small = {4, RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &old) == 0) {
        small.rlim_max = old.rlim_max;
        fflush(stdout);
        (void)setrlimit(RLIMIT_FSIZE, &small);
        moonsand_artefact a = {"half", "hello", 5, 0644};
        moonsand_result r = {.version = 1, .artefacts = &a, .artefact_count = 1};
        int rc = moonsand_result_save(&r, dir, NULL);
        (void)setrlimit(RLIMIT_FSIZE, &old);
        is_int(rc, -1, "a file that becomes too long");
        is_int(mode_of(dir, "half"), 0, "is not there");
    }

    ms_free(name);
    ms_free(victim);
    ms_free(link);
    ms_free(outside);
    ms_free(dir);
    (void)nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return done_testing();
}
