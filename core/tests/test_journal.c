/* A journal's file: whole lines whatever happens, one writer, and nothing damaged unnoticed. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "journal.h"
#include "mem.h"
#include "open_fds.h"
#include "process.h"
#include "tap.h"

static char top[64];

static const char *at(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *p = paths[next++ & 3];
    snprintf(p, sizeof paths[0], "%s/%s", top, name);
    return p;
}

static void put_file(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ms_write_all(fd, bytes, len) != 0)
        fail("%s: %s", path, strerror(errno));
    close(fd);
}

static ms_buf get_file(const char *path)
{
    ms_buf b = {0};
    ms_file_read(&b, path, (size_t)64 << 20, NULL);
    if (b.data == NULL)
        ms_buf_adds(&b, "");
    return b;
}

static void is_file(const char *path, const char *want, const char *what)
{
    ms_buf b = get_file(path);
    is_str(b.data, want, "%s", what);
    ms_buf_free(&b);
}

static int open_sync(moonsand_journal **j, const char *path, moonsand_journal_mode mode,
                     uint64_t sync_ns, moonsand_error **err)
{
    moonsand_journal_options o = MOONSAND_JOURNAL_OPTIONS_INIT;
    o.mode = mode;
    o.sync_ns = sync_ns;
    return moonsand_journal_open(j, path, &o, err);
}

static moonsand_journal *open_good(const char *path, moonsand_journal_mode mode)
{
    moonsand_journal *j;
    moonsand_error *err = NULL;
    if (open_sync(&j, path, mode, UINT64_MAX, &err) != 0)
        fail("%s: %s", path, moonsand_error_message(err));
    moonsand_error_free(err);
    return j;
}

static int append(moonsand_journal *j, const char *line, moonsand_error **err)
{
    return moonsand_journal_append(j, line, strlen(line), err);
}

/* All lines, "|" after each; then the error, if one ended it. */
static const char *lines_of(moonsand_journal *j)
{
    static char out[1024];
    const char *line;
    size_t len, used = 0;
    moonsand_error *err = NULL;
    int rc;
    *out = 0;
    while ((rc = moonsand_journal_next(j, &line, &len, &err)) == 0 && line != NULL)
        used += (size_t)snprintf(out + used, sizeof out - used, "%s|", line);
    if (rc != 0)
        snprintf(out + used, sizeof out - used, "%s: %s",
                 moonsand_code_name(moonsand_error_code(err)), moonsand_error_message(err));
    moonsand_error_free(err);
    return out;
}

static const char *lines_at(const char *path)
{
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_READ);
    const char *text = j != NULL ? lines_of(j) : "";
    moonsand_journal_close(j, NULL);
    return text;
}

/* The code of the refusal to open; its message must hold `says`. */
static void refused(const char *path, moonsand_journal_mode mode, moonsand_code code,
                    const char *says)
{
    moonsand_journal *j = (moonsand_journal *)1;
    moonsand_error *err = NULL;
    int files = open_fds();
    ok(open_sync(&j, path, mode, 0, &err) == -1 && j == NULL, "refused: %s", says);
    is_int(moonsand_error_code(err), code, "its code");
    ok(strstr(moonsand_error_message(err), says) != NULL, "says %s: %s", says,
       moonsand_error_message(err));
    is_int(open_fds(), files, "no descriptor is left");
    moonsand_error_free(err);
}

static void life(void)
{
    const char *path = at("life");
    mode_t mask = umask(027);
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CREATE);
    umask(mask);
    struct stat st;
    ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640, "a new file has the umask's mode");
    ok((fcntl(j->fd, F_GETFD) & FD_CLOEXEC) != 0, "programs that are started do not get it");
    ok(append(j, "{\"a\":1}", NULL) == 0 && append(j, "\xc3\xa9", NULL) == 0, "two records");
    is_file(path, "{\"a\":1}\n\xc3\xa9\n", "are there as soon as append() returns");
    is_int(moonsand_journal_get_facts(j)->bytes, 11, "facts: bytes");
    is_int(moonsand_journal_get_facts(j)->lines, 2, "facts: lines");
    ok(moonsand_journal_sync(j, NULL) == 0, "sync");
    ok(moonsand_journal_close(j, NULL) == 0, "close");
    is_str(lines_at(path), "{\"a\":1}|\xc3\xa9|", "they read as they were written");
    refused(path, MOONSAND_JOURNAL_CREATE, MOONSAND_E_CONFLICT, "holds 11 bytes");
    j = open_good(path, MOONSAND_JOURNAL_CONTINUE);
    moonsand_error *err = NULL;
    ok(append(j, "x", &err) == -1 && moonsand_error_code(err) == MOONSAND_E_INVALID,
       "nothing is added before all was read");
    moonsand_error_free(err);
    lines_of(j);
    ok(append(j, "three", NULL) == 0, "a record more");
    const char *line = "";
    size_t len;
    ok(moonsand_journal_next(j, &line, &len, NULL) == 0 && line == NULL, "a writer reads no own");
    moonsand_journal_close(j, NULL);
    is_str(lines_at(path), "{\"a\":1}|\xc3\xa9|three|", "it follows the others");
    j = open_good(at("new"), MOONSAND_JOURNAL_CONTINUE);
    ok(append(j, "one", NULL) == 0, "to continue what is not there is to begin");
    moonsand_journal_close(j, NULL);
    j = open_good(path, MOONSAND_JOURNAL_READ);
    lines_of(j);
    ok(append(j, "x", NULL) == -1, "a reader writes nothing");
    moonsand_journal_close(j, NULL);
    ok(moonsand_journal_close(NULL, NULL) == 0, "NULL closes");
}

static void syncing(void)
{
    static const struct {
        uint64_t ns;
        bool after_one, after_sync;
        const char *what;
    } cases[] = {{1, false, false, "each record"},
                 {UINT64_MAX, true, false, "never"},
                 {0, true, false, "1 s, if nothing is said"},
                 {UINT64_C(3600000000000), true, false, "1 h"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        moonsand_journal *j;
        unlink(at("sync"));
        if (open_sync(&j, at("sync"), MOONSAND_JOURNAL_CREATE, cases[i].ns, NULL) != 0)
            fail("open");
        append(j, "one", NULL);
        is_int(j->unsynced, cases[i].after_one, "synced after %s", cases[i].what);
        ok(moonsand_journal_sync(j, NULL) == 0, "sync on request");
        is_int(j->unsynced, cases[i].after_sync, "is done");
        if (cases[i].ns == 0) {
            j->synced_ns -= INT64_C(999000000);
            append(j, "two", NULL);
            j->synced_ns -= INT64_C(1000000000);
            append(j, "three", NULL);
            ok(!j->unsynced, "when 1 s has passed, the next record is synced");
        }
        ok(moonsand_journal_close(j, NULL) == 0, "close");
    }
}

static void records(void)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *what;
    } bad[] = {{"", 0, "an empty one"},
               {"a\nb", 3, "a line end"},
               {"a\0b", 3, "a NUL"},
               {"\xff", 1, "no UTF-8"},
               {"\xed\xa0\x80", 3, "a surrogate"},
               {"\xe2\x82", 2, "half a character"},
               {"12345678\xc0\xaf", 10, "a form that is too long"},
               {"\xf4\x90\x80\x80", 4, "beyond Unicode"}};
    moonsand_journal *j = open_good(at("records"), MOONSAND_JOURNAL_CREATE);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moonsand_error *err = NULL;
        ok(moonsand_journal_append(j, bad[i].bytes, bad[i].len, &err) == -1 &&
               moonsand_error_code(err) == MOONSAND_E_INVALID,
           "refused: %s", bad[i].what);
        moonsand_error_free(err);
    }
    char *big = malloc(MOONSAND_JOURNAL_LINE_MAX + 1);
    memset(big, 'x', MOONSAND_JOURNAL_LINE_MAX + 1);
    ok(moonsand_journal_append(j, big, MOONSAND_JOURNAL_LINE_MAX + 1, NULL) == -1,
       "refused: longer than the longest");
    is_file(at("records"), "", "nothing of them is in the file");
    ok(moonsand_journal_append(j, big, MOONSAND_JOURNAL_LINE_MAX, NULL) == 0, "the longest");
    append(j, "after", NULL);
    moonsand_journal_close(j, NULL);
    j = open_good(at("records"), MOONSAND_JOURNAL_READ);
    const char *line;
    size_t len;
    ok(moonsand_journal_next(j, &line, &len, NULL) == 0 && len == MOONSAND_JOURNAL_LINE_MAX &&
           memcmp(line, big, len) == 0,
       "is read");
    is_str(lines_of(j), "after|", "and what follows it");
    moonsand_journal_close(j, NULL);
    free(big);
}

static void torn(void)
{
    static const char whole[] = "{\"n\":1}\n{\"t\":\"\xe2\x82\xac\"}\n{\"n\":3}\n";
    const char *path = at("torn");
    int wrong = 0;
    for (size_t cut = 0; cut < sizeof whole; cut++) {
        char want[sizeof whole + 8];
        put_file(path, whole, cut);
        moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CONTINUE);
        lines_of(j);
        size_t kept = cut;
        while (kept > 0 && whole[kept - 1] != '\n')
            kept--;
        wrong += moonsand_journal_get_facts(j)->torn != cut - kept;
        wrong += append(j, "new", NULL) != 0;
        wrong += moonsand_journal_get_facts(j)->torn != 0;
        moonsand_journal_close(j, NULL);
        snprintf(want, sizeof want, "%.*snew\n", (int)kept, whole);
        ms_buf b = get_file(path);
        wrong += strcmp(b.data, want) != 0;
        ms_buf_free(&b);
    }
    is_int(wrong, 0, "cut at any byte, all whole lines stay, and the next follows them");
    put_file(path, whole, sizeof whole - 4);
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CONTINUE);
    lines_of(j);
    moonsand_journal_close(j, NULL);
    ms_buf b = get_file(path);
    is_int(b.len, sizeof whole - 4, "who writes nothing cuts nothing off");
    ms_buf_free(&b);
}

static void damage(void)
{
    const char *path = at("damage");
    put_file(path, "head\ntwo\0two\nthree\n", 19);
    const char *text = lines_at(path);
    ok(strstr(text, "head|protocol: ") == text, "what is before the damage comes: %s", text);
    ok(strstr(text, "line 2 (byte 5) holds a NUL byte") != NULL, "its place is named");
    ok(strstr(text, "sed 2d OLD") != NULL && strstr(text, "head -c 5 OLD") != NULL,
       "and the ways out");
    put_file(path, "head\n\xe9t\xe9\n", 9);
    ok(strstr(lines_at(path), "line 2 (byte 5) is not UTF-8") != NULL, "not UTF-8");
    put_file(path,
             "\x7f"
             "ELF\2\1\1\0\0\0\n",
             11);
    ok(strstr(lines_at(path), "this is no journal") != NULL, "a file of another kind");
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CONTINUE);
    lines_of(j);
    ok(append(j, "x", NULL) == -1, "is not written to");
    ok(strstr(lines_of(j), "line 1 (byte 0)") != NULL, "to ask again does not get around it");
    moonsand_journal_close(j, NULL);
    j = open_good(at("life"), MOONSAND_JOURNAL_READ);
    const char *line;
    size_t len;
    moonsand_error *err = NULL;
    moonsand_journal_next(j, &line, &len, NULL);
    moonsand_journal_next(j, &line, &len, NULL);
    ok(moonsand_journal_damaged(j, "is not JSON", &err) == -1 &&
           strstr(moonsand_error_message(err), "line 2 (byte 8) is not JSON: ") != NULL,
       "a caller can say more of the line it read: %s", moonsand_error_message(err));
    moonsand_error_free(err);
    moonsand_journal_close(j, NULL);
}

/* 100 MB without a line end, sparse: no memory is asked for in proportion. */
static void endless(void)
{
    const char *path = at("endless");
    put_file(path, "head\n", 5);
    ok(truncate(path, 100000000) == 0, "a line of 100 MB");
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CONTINUE);
    ok(strstr(lines_of(j), "head|protocol: ") != NULL, "is refused");
    ok(strstr(lines_of(j), "line 2 (byte 5) is longer than 16 MiB") != NULL, "with its place");
    ok(j->cap <= MOONSAND_JOURNAL_LINE_MAX + 1, "memory is bounded");
    moonsand_journal_close(j, NULL);
    struct stat st;
    ok(stat(path, &st) == 0 && st.st_size == 100000000, "the file is left alone");
    unlink(path);
}

static void kinds_of_file(void)
{
    refused(at(""), MOONSAND_JOURNAL_READ, MOONSAND_E_INVALID, "not a regular file");
    refused(at(""), MOONSAND_JOURNAL_CONTINUE, MOONSAND_E_INVALID, "not a regular file");
    refused(at("none"), MOONSAND_JOURNAL_READ, MOONSAND_E_NOT_FOUND, "none");
    refused(at("no/dir"), MOONSAND_JOURNAL_CREATE, MOONSAND_E_NOT_FOUND, "no/dir");
    refused("", MOONSAND_JOURNAL_READ, MOONSAND_E_INVALID, "path");
    if (mkfifo(at("fifo"), 0600) != 0 || symlink("life", at("link")) != 0 ||
        symlink("nowhere", at("dangling")) != 0)
        fail("making files: %s", strerror(errno));
    refused(at("fifo"), MOONSAND_JOURNAL_READ, MOONSAND_E_INVALID, "not a regular file");
    refused(at("fifo"), MOONSAND_JOURNAL_CONTINUE, MOONSAND_E_INVALID, "not a regular file");
    refused("/dev/null", MOONSAND_JOURNAL_CREATE, MOONSAND_E_INVALID, "not a regular file");
    refused(at("link"), MOONSAND_JOURNAL_CONTINUE, MOONSAND_E_INVALID, "symbolic link");
    refused(at("dangling"), MOONSAND_JOURNAL_CREATE, MOONSAND_E_INVALID, "symbolic link");
    ok(access(at("nowhere"), F_OK) != 0, "nothing was made behind the link");
    ok(strstr(lines_at(at("link")), "three|") != NULL, "a reader follows a link");
    moonsand_journal *j;
    moonsand_journal_options o = {.version = 9};
    ok(moonsand_journal_open(&j, at("life"), &o, NULL) == -1 && j == NULL, "unknown options");
}

static void one_writer(void)
{
    const char *path = at("locked");
    char pid[32];
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CREATE);
    append(j, "one", NULL);
    /* The kernel's list of locks may not be ours to read. */
    bool told = access("/proc/locks", R_OK) == 0;
    snprintf(pid, sizeof pid, told ? "this process (%ld)" : "another process", (long)getpid());
    refused(path, MOONSAND_JOURNAL_CONTINUE, MOONSAND_E_CONFLICT, pid);
    refused(path, MOONSAND_JOURNAL_CREATE, MOONSAND_E_CONFLICT, pid);
    is_str(lines_at(path), "one|", "a reader needs no lock");
    ok(append(j, "two", NULL) == 0, "and took none away");
    moonsand_journal_close(j, NULL);

    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child == 0) {
        moonsand_journal *own;
        int rc = open_sync(&own, path, MOONSAND_JOURNAL_CONTINUE, UINT64_MAX, NULL);
        if (rc != 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char c;
    ok(read(ready[0], &c, 1) == 1, "another process writes");
    snprintf(pid, sizeof pid, told ? "by process %ld;" : "another process", (long)child);
    refused(path, MOONSAND_JOURNAL_CONTINUE, MOONSAND_E_CONFLICT, pid);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    j = open_good(path, MOONSAND_JOURNAL_CONTINUE);
    is_str(lines_of(j), "one|two|", "a writer that was killed holds nothing");
    moonsand_journal_close(j, NULL);
}

/* Somebody who asks for no lock. */
static void interference(void)
{
    const char *path = at("edited");
    moonsand_error *err = NULL;
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CREATE);
    append(j, "one", NULL);
    put_file(path, "other bytes\n", 12);
    ok(append(j, "two", &err) == -1 && moonsand_error_code(err) == MOONSAND_E_CONFLICT &&
           strstr(moonsand_error_message(err), "changed by somebody else") != NULL,
       "a file that was edited is written to no more");
    moonsand_journal_close(j, NULL);
    is_file(path, "other bytes\n", "and stays as it is");
    unlink(path);
    j = open_good(path, MOONSAND_JOURNAL_CREATE);
    append(j, "one", NULL);
    unlink(path);
    ok(append(j, "two", &err) == -1 && moonsand_error_code(err) == MOONSAND_E_CONFLICT &&
           strstr(moonsand_error_message(err), "was removed") != NULL,
       "a file that was removed");
    moonsand_error_free(err);
    moonsand_journal_close(j, NULL);
}

static void following(void)
{
    const char *path = at("followed");
    put_file(path, "one\ntw", 6);
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_READ);
    is_str(lines_of(j), "one|", "a line that is being written is not there yet");
    is_int(moonsand_journal_get_facts(j)->torn, 2, "and is known as such");
    put_file(path, "one\nother\n", 10);
    is_str(lines_of(j), "other|", "what stands there later is read anew");
    is_str(lines_of(j), "", "and once");
    moonsand_journal_close(j, NULL);

    put_file(path, "one\ntwo\nthr", 11);
    j = open_good(path, MOONSAND_JOURNAL_READ);
    const char *line;
    size_t len;
    is_int(moonsand_journal_next(j, &line, &len, NULL), 0, "the buffer holds half a line, too");
    put_file(path, "one\ntwo\nfour\n", 13);
    is_str(lines_of(j), "two|four|", "which its writer took away before it was read");
    moonsand_journal_close(j, NULL);
}

/* Records until one fails; how many were kept. Says nothing: standard output may be a file. */
static int fill(moonsand_journal *j, const char *line, int most, moonsand_error **err)
{
    int n = 0;
    while (n < most && append(j, line, err) == 0)
        n++;
    return n;
}

static void only_whole(const moonsand_journal *j, const char *path)
{
    struct stat st;
    is_int(stat(path, &st) == 0 ? st.st_size : -1, (long long)moonsand_journal_get_facts(j)->bytes,
           "the file ends with its last whole line");
}

/* A limit on the size of files is met in the middle of a record, as a full disk is. */
static void no_room(void)
{
    const char *path = at("limit");
    char line[300];
    moonsand_error *err = NULL;
    memset(line, 'y', sizeof line - 1);
    line[sizeof line - 1] = 0;
    moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CREATE);
    struct rlimit old, small = {1000, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int n = fill(j, line, 10, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    only_whole(j, path);
    is_int(n, 3, "three records fit");
    is_int(moonsand_error_code(err), MOONSAND_E_IO, "the fourth fails");
    is_int(moonsand_error_errno(err), EFBIG, "for its reason");
    ok(append(j, "more", NULL) == 0, "when there is room again, appending goes on");
    moonsand_error_free(err);
    moonsand_journal_close(j, NULL);
    j = open_good(path, MOONSAND_JOURNAL_READ);
    const char *line_read;
    size_t len;
    for (n = 0; moonsand_journal_next(j, &line_read, &len, NULL) == 0 && line_read; n++)
        if (strcmp(line_read, n < 3 ? line : "more") != 0)
            fail("line %d", n + 1);
    is_int(n, 4, "all four are whole");
    moonsand_journal_close(j, NULL);
}

/* In a child with mounts of its own: a file system of 64 KiB. Exit status 77: it cannot be made. */
static int small_disk(void)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return 77;
    if (mkdir(at("small"), 0700) != 0 ||
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("small", at("small"), "tmpfs", 0, "size=64k") != 0)
        return 77;
    char line[5000];
    moonsand_error *err = NULL;
    memset(line, 'z', sizeof line - 1);
    line[sizeof line - 1] = 0;
    static const char other[8192];
    put_file(at("small/other"), other, sizeof other);
    moonsand_journal *j;
    if (open_sync(&j, at("small/j"), MOONSAND_JOURNAL_CREATE, 1, &err) != 0)
        return 1;
    int n = fill(j, line, 100, &err);
    only_whole(j, at("small/j"));
    ok(n > 5 && n < 14, "%d records fit on a small disk", n);
    is_int(moonsand_error_code(err), MOONSAND_E_IO, "then: io");
    is_int(moonsand_error_errno(err), ENOSPC, "no space");
    ok(strstr(moonsand_error_message(err), "make room") != NULL, "and says so: %s",
       moonsand_error_message(err));
    ok(append(j, line, NULL) == -1, "no record fits while it is full");
    unlink(at("small/other"));
    ok(append(j, line, NULL) == 0, "when there is room again, appending goes on");
    ok(moonsand_journal_close(j, NULL) == 0, "it closes");
    j = open_good(at("small/j"), MOONSAND_JOURNAL_CONTINUE);
    const char *text;
    size_t len;
    int whole = 0;
    while (moonsand_journal_next(j, &text, &len, NULL) == 0 && text != NULL)
        whole += strcmp(text, line) == 0;
    is_int(whole, n + 1, "all records are whole");
    is_int(moonsand_journal_get_facts(j)->torn, 0, "nothing torn is left");
    moonsand_journal_close(j, NULL);
    moonsand_error_free(err);
    return tap_failed != 0;
}

static void full_disk(void)
{
    fflush(stdout);
    int failed = tap_failed, before = tap_count;
    pid_t child = fork();
    if (child == 0) {
        tap_failed = 0;
        int rc = small_disk();
        fflush(stdout);
        _exit(rc);
    }
    int status;
    waitpid(child, &status, 0);
    int rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (rc == 77) {
        skip("a full disk: this user cannot mount a small one");
        return;
    }
    tap_failed = failed;
    tap_count = before + 10; /* the child's */
    is_int(rc, 0, "a full disk");
}

/* kill -9 while records are written, again and again. */
static void killed(void)
{
    const char *path = at("killed");
    int wrong = 0, torn_ones = 0;
    unsigned long long last = 0;
    for (int round = 0; round < 15; round++) {
        pid_t child = fork();
        if (child == 0) {
            moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_CONTINUE);
            const char *line;
            size_t len;
            unsigned long long n = 0;
            while (moonsand_journal_next(j, &line, &len, NULL) == 0 && line != NULL)
                n++;
            char record[400];
            for (;;) {
                snprintf(record, sizeof record, "%llu %0300d", ++n, 0);
                if (append(j, record, NULL) != 0)
                    _exit(1);
            }
        }
        usleep(3000 + 700 * (useconds_t)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        if (access(path, F_OK) != 0)
            continue;
        moonsand_journal *j = open_good(path, MOONSAND_JOURNAL_READ);
        const char *line = "";
        size_t len;
        unsigned long long n = 0;
        while (moonsand_journal_next(j, &line, &len, NULL) == 0 && line != NULL)
            wrong += strtoull(line, NULL, 10) != ++n || len < 301;
        torn_ones += moonsand_journal_get_facts(j)->torn != 0;
        wrong += n < last || line != NULL;
        last = n;
        moonsand_journal_close(j, NULL);
    }
    ok(last > 0, "%llu records in 15 lives, %d ends torn", last, torn_ones);
    is_int(wrong, 0, "none is lost, none comes twice");
}

int main(void)
{
    snprintf(top, sizeof top, "%s", "/tmp/moonsand-test-journal-XXXXXX");
    if (mkdtemp(top) == NULL)
        return 1;
    int files = open_fds();
    life();
    syncing();
    records();
    torn();
    damage();
    endless();
    kinds_of_file();
    one_writer();
    interference();
    following();
    no_room();
    full_disk();
    killed();
    is_int(open_fds(), files, "no descriptor is left");
    ms_remove_tree(top);
    return done_testing();
}
