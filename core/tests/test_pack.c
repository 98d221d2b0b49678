/* What is sent: walked, packed, hashed; read back by our own reader of tar streams. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "mem.h"
#include "pack.h"
#include "process.h"
#include "tap.h"

static char top[64]; /* everything that is made here is below it */

static const char *at(const char *name)
{
    static char paths[4][MS_PATH_MAX];
    static unsigned next;
    char *p = paths[next++ & 3];
    snprintf(p, MS_PATH_MAX, "%s/%s", top, name);
    return p;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, mode) != 0)
        fail("%s: %s", name, strerror(errno));
    close(fd);
}

static moonsand_pack *tree(const char *dir, const char *ignore)
{
    moonsand_pack *p;
    moonsand_tree_options o = MOONSAND_TREE_OPTIONS_INIT;
    o.ignore = ignore;
    o.ignore_len = ignore != NULL ? strlen(ignore) : 0;
    moonsand_pack_new(&p, NULL);
    if (moonsand_pack_tree(p, "", at(dir), &o, NULL) != 0)
        fail("tree %s", dir);
    return p;
}

/* NULL and the message when it cannot be measured. */
static const moonsand_pack_facts *measure(moonsand_pack *p, char *why, size_t size)
{
    bool done;
    moonsand_error *err = NULL;
    if (moonsand_pack_measure(p, 0, &done, &err) == 0)
        return moonsand_pack_get_facts(p);
    snprintf(why, size, "%s: %s", moonsand_code_name(moonsand_error_code(err)),
             moonsand_error_message(err));
    moonsand_error_free(err);
    return NULL;
}

static const char *hash_of(moonsand_pack *p)
{
    static char hex[4][MS_SHA256_HEX];
    static unsigned next;
    char *to = hex[next++ & 3], why[512];
    const moonsand_pack_facts *f = measure(p, why, sizeof why);
    snprintf(to, MS_SHA256_HEX, "%.64s", f != NULL ? f->sha256 : why);
    return to;
}

static const char *hash_once(moonsand_pack *p)
{
    const char *hex = hash_of(p);
    moonsand_pack_free(p);
    return hex;
}

/* The whole stream, or what came before the error. */
static ms_buf stream(moonsand_pack *p, moonsand_error **err)
{
    ms_buf b = {0};
    ms_pack_reader *r;
    if (ms_pack_reader_new(&r, p, true, err) != 0)
        return b;
    char piece[10000];
    ssize_t n;
    while ((n = ms_pack_reader_read(r, piece, sizeof piece, err)) > 0)
        ms_buf_add(&b, piece, (size_t)n);
    ms_pack_reader_free(r);
    return b;
}

/* "path type mode content|target" a line, in the stream's order. */
static ms_buf list(moonsand_pack *p)
{
    static const char types[] = "fdlho";
    ms_buf out = {0}, b = stream(p, NULL);
    moonsand_untar *u = NULL;
    const moonsand_tar_entry *e = NULL;
    if (moonsand_untar_open(&u, b.data, b.len, 0, 0, NULL) == 0)
        while (moonsand_untar_next(u, &e, NULL) == 0 && e != NULL)
            ms_buf_addf(&out, "%s %c %o %s%.*s\n", e->path, types[e->type], e->mode,
                        e->target != NULL ? e->target : "", (int)e->len,
                        e->data != NULL ? e->data : "");
    moonsand_untar_close(u);
    ms_buf_free(&b);
    if (out.data == NULL)
        ms_buf_adds(&out, "");
    return out;
}

static void is_list(moonsand_pack *p, const char *want, const char *what)
{
    ms_buf got = list(p);
    is_str(got.data, want, "%s", what);
    ms_buf_free(&got);
    moonsand_pack_free(p);
}

static void order(void)
{
    mkdir(at("t"), 0700);
    mkdir(at("t/b"), 0711);
    mkdir(at("t/empty"), 0777);
    write_file("t/b/x", "x", 0600);
    write_file("t/b.c", "bc", 0755);
    write_file("t/a", "a", 0444);
    write_file("t/.hidden", "", 0644);
    if (symlink("../../etc/passwd", at("t/out")) != 0 || symlink("b", at("t/link")) != 0)
        fail("symlink");
    is_list(tree("t", NULL),
            ".hidden f 644 \na f 644 a\nb d 755 \nb/x f 644 x\nb.c f 755 bc\nempty d 755 \n"
            "link l 777 b\nout l 777 ../../etc/passwd\n",
            "a tree: names in order, links as links, modes reduced to what matters");
    moonsand_pack *p;
    moonsand_pack_new(&p, NULL);
    moonsand_pack_data(p, "z/y/two", "2", 1, 0, NULL);
    moonsand_pack_data(p, "one", "1", 1, 0400, NULL);
    moonsand_pack_tree(p, "in/side", at("t/b"), NULL, NULL);
    moonsand_pack_file(p, "z/y/three", at("t/b.c"), 0, NULL);
    moonsand_pack_file(p, "z/four", at("t/a"), 0701, NULL);
    moonsand_pack_data(p, "in/side/x", "new", 3, 0, NULL);
    is_list(p,
            "in d 755 \nin/side d 755 \nin d 755 \nin/side d 755 \nin/side/x f 644 new\n"
            "one f 400 1\nz d 755 \nz/four f 701 a\nz/y d 755 \n"
            "z/y/three f 755 bc\nz/y/two f 644 2\n",
            "a mixed pack: directories made, what is named replaces what a tree has");
}

static void escaping(void)
{
    static const struct {
        const char *target, *found;
    } cases[] = {{"../..", "p/link"},      {"..", NULL},      {"../x/../..", "p/link"},
                 {"/etc/passwd", NULL},    {"a/../..", NULL}, {"../x/..", NULL},
                 {"a/../../..", "p/link"}, {".//./..", NULL}};
    mkdir(at("e"), 0755);
    mkdir(at("e/p"), 0755);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (symlink(cases[i].target, at("e/p/link")) != 0)
            fail("symlink");
        moonsand_pack *p = tree("e", NULL);
        char why[512] = "";
        const moonsand_pack_facts *f = measure(p, why, sizeof why);
        is_str(f != NULL ? f->escaping : why, cases[i].found, "a link to %s", cases[i].target);
        moonsand_pack_free(p);
        unlink(at("e/p/link"));
    }
}

static void hash(void)
{
    char first[MS_SHA256_HEX];
    snprintf(first, sizeof first, "%s", hash_once(tree("t", NULL)));
    is_int(strlen(first), 64, "a hash");
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    utimensat(AT_FDCWD, at("t/a"), old, 0);
    chmod(at("t/a"), 0664);
    if (rename(at("t"), at("t2")) != 0)
        fail("rename");
    is_str(hash_once(tree("t2", NULL)), first, "not of time, umask, place on this machine");
    if (rename(at("t2"), at("t")) != 0)
        fail("rename");
    chmod(at("t/a"), 0764);
    ok(strcmp(hash_once(tree("t", NULL)), first) != 0, "of the x bit");
    chmod(at("t/a"), 0644);
    is_str(hash_once(tree("t", NULL)), first, "back again");
    write_file("t/a", "b", 0644);
    ok(strcmp(hash_once(tree("t", NULL)), first) != 0, "of the contents");
    write_file("t/a", "a", 0644);
    write_file("t/aa", "", 0644);
    ok(strcmp(hash_once(tree("t", NULL)), first) != 0, "of the names");
    unlink(at("t/aa"));
    unlink(at("t/link"));
    if (symlink("c", at("t/link")) != 0)
        fail("symlink");
    ok(strcmp(hash_once(tree("t", NULL)), first) != 0, "of a link's target");
    /* Where one ends and the next begins is in the hash, too. */
    moonsand_pack *p, *q;
    moonsand_pack_new(&p, NULL);
    moonsand_pack_new(&q, NULL);
    moonsand_pack_data(p, "a", "bc", 2, 0, NULL);
    moonsand_pack_data(q, "ab", "c", 1, 0, NULL);
    ok(strcmp(hash_once(p), hash_once(q)) != 0, "of the borders");
    moonsand_pack_new(&p, NULL);
    moonsand_pack_new(&q, NULL);
    moonsand_pack_data(p, "a", "1", 1, 0, NULL);
    moonsand_pack_data(p, "b", "2", 1, 0, NULL);
    moonsand_pack_data(q, "b", "2", 1, 0, NULL);
    moonsand_pack_data(q, "a", "1", 1, 0, NULL);
    is_str(hash_once(p), hash_once(q), "not of the order in which it was given");
}

static void in_steps(void)
{
    write_file("big", "", 0644);
    if (truncate(at("big"), 10 << 20) != 0)
        fail("truncate");
    moonsand_pack *p;
    moonsand_pack_new(&p, NULL);
    moonsand_pack_file(p, "big", at("big"), 0, NULL);
    bool done = false;
    int calls = 0;
    while (!done && moonsand_pack_measure(p, 1 << 20, &done, NULL) == 0) {
        calls++;
        if (!done && (moonsand_pack_seen(p) > (uint64_t)calls * (2u << 20) ||
                      moonsand_pack_get_facts(p) != NULL))
            fail("step %d went too far: %d", calls, (int)moonsand_pack_seen(p));
    }
    ok(calls >= 10, "10 MiB take %d steps of 1 MiB", calls);
    const moonsand_pack_facts *f = moonsand_pack_get_facts(p);
    ms_buf b = stream(p, NULL);
    is_int(f->bytes, b.len, "the size is that of the stream");
    is_int(f->files, 1, "one file");
    ms_buf_free(&b);
    b = stream(p, NULL);
    is_int(b.len, f->bytes, "it can be sent twice");
    ms_buf_free(&b);
    is_int(moonsand_pack_data(p, "more", "", 0, 0, NULL), 0, "more can be added");
    ok(moonsand_pack_get_facts(p) == NULL, "and then it is to be measured again");
    ms_pack_reader *r;
    ms_pack_reader_new(&r, p, true, NULL);
    is_int(moonsand_pack_data(p, "late", "", 0, 0, NULL), -1, "but not while it is sent");
    moonsand_pack_free(p); /* the reader keeps it */
    char piece[100];
    is_int(ms_pack_reader_read(r, piece, sizeof piece, NULL), 100, "which goes on");
    ms_pack_reader_free(r);
    unlink(at("big"));
}

static void names(void)
{
    char longest[256], path[MS_PATH_MAX] = "n";
    memset(longest, 'n', 255);
    longest[255] = '\0';
    mkdir(at("n"), 0755);
    for (int i = 0; i < 2; i++) {
        strcat(strcat(path, "/"), longest);
        mkdir(at(path), 0755);
    }
    strcat(path, "/file");
    write_file(path, "deep", 0644);
    write_file("n/new\nline", "1", 0644);
    write_file("n/\xff\xfe", "2", 0644);
    write_file("n/\xc3\xbc", "3", 0644);
    char target[1000], want[4096];
    memset(target, 't', 999);
    target[999] = '\0';
    if (symlink(target, at("n/link")) != 0)
        fail("symlink");
    snprintf(want, sizeof want,
             "link l 777 %s\nnew\nline f 644 1\n%s d 755 \n%s/%s d 755 \n%s/%s/file f 644 deep\n"
             "\xc3\xbc f 644 3\n\xff\xfe f 644 2\n",
             target, longest, longest, longest, longest, longest);
    is_list(tree("n", NULL), want, "names that are long, have a newline, are no UTF-8");
    /* The size in the header of a file that octal digits cannot say. */
    moonsand_pack *p;
    ms_pack_reader *r;
    char block[512];
    write_file("huge", "", 0644);
    if (truncate(at("huge"), (off_t)9 << 30) != 0) {
        skip("no sparse file of 9 GiB: %s", strerror(errno));
        return;
    }
    moonsand_pack_new(&p, NULL);
    moonsand_pack_file(p, "huge", at("huge"), 0, NULL);
    ms_pack_reader_new(&r, p, true, NULL);
    is_int(ms_pack_reader_read(r, block, 512, NULL), 512, "a file of 9 GiB begins");
    ok((unsigned char)block[124] == 0x80 && block[131] == 2 && block[132] == 0x40,
       "with its size in base 256");
    ms_pack_reader_free(r);
    moonsand_pack_free(p);
    unlink(at("huge"));
}

static void refused(const char *what, moonsand_pack *p, const char *code, const char *word)
{
    char why[1024] = "";
    ok(measure(p, why, sizeof why) == NULL && strncmp(why, code, strlen(code)) == 0 &&
           strstr(why, word) != NULL,
       "%s: %s", what, why);
    moonsand_pack_free(p);
}

static moonsand_pack *file(const char *host)
{
    moonsand_pack *p;
    moonsand_pack_new(&p, NULL);
    moonsand_pack_file(p, "f", host, 0, NULL);
    return p;
}

static void special(void)
{
    mkdir(at("s"), 0755);
    write_file("s/a", "a", 0644);
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", at("s/socket"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("bind");
    close(fd);
    is_list(tree("s", NULL), "a f 644 a\n", "a socket is passed over");
    mkfifo(at("s/fifo\nx"), 0644);
    refused("a fifo", tree("s", NULL), "invalid", "s/fifo?x: is a fifo");
    is_list(tree("s", "fifo*\n"), "a f 644 a\n", "that is excluded does not matter");
    if (geteuid() == 0) {
        mknod(at("s/device"), S_IFCHR | 0644, makedev(1, 3));
        refused("a device", tree("s", "fifo*\n"), "invalid", "s/device: is a device");
        unlink(at("s/device"));
    }
    if (symlink("a", at("s/link")) != 0 || symlink("s", at("top")) != 0)
        fail("symlink");
    refused("a named link", file(at("s/link")), "invalid", "s/link is a symbolic link");
    refused("a named fifo", file(at("s/fifo\nx")), "invalid", "is not a regular file");
    refused("a named directory", file(at("s")), "invalid", "is not a regular file");
    refused("a named file that is not there", file(at("none")), "not_found", "none");
    refused("a tree that is not there", tree("none", NULL), "not_found", "none");
    refused("a tree that is a file", tree("s/a", NULL), "io", "s/a");
    is_list(tree("top", "fifo*\n"), "a f 644 a\nlink l 777 a\n", "the top may be a link");

    char deep[MS_PATH_MAX] = "s";
    for (int i = 0; i < 220; i++) {
        strcat(deep, "/d");
        mkdir(at(deep), 0755);
    }
    refused("a tree without end", tree("s", "fifo*\n"), "invalid", "200 directories deep");
    is_list(tree("s", "fifo*\nd"), "a f 644 a\nlink l 777 a\n", "that is excluded is not entered");
}

static void paths(void)
{
    static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b"};
    moonsand_pack *p;
    moonsand_pack_new(&p, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moonsand_error *err = NULL;
        ok(moonsand_pack_data(p, bad[i], "", 0, 0, &err) != 0 &&
               moonsand_error_code(err) == MOONSAND_E_INVALID,
           "\"%s\" is no path", bad[i]);
        moonsand_error_free(err);
    }
    is_int(moonsand_pack_data(p, "a", "", 0, 010000, NULL), -1, "a mode has permission bits only");
    moonsand_pack_data(p, "..a/b..", "", 0, 0, NULL);
    moonsand_pack_data(p, "a/b", "1", 1, 0, NULL);
    moonsand_pack_data(p, "a/b", "2", 1, 0, NULL);
    refused("a path twice", p, "invalid", "a/b was given twice");
    moonsand_pack_new(&p, NULL);
    moonsand_pack_data(p, "a/b", "1", 1, 0, NULL);
    moonsand_pack_data(p, "a/b/c", "2", 1, 0, NULL);
    moonsand_pack_data(p, "a/b.c", "2", 1, 0, NULL);
    refused("a path and one below it", p, "invalid", "as a file and as a directory");
    moonsand_pack_new(&p, NULL);
    moonsand_tree_options o = MOONSAND_TREE_OPTIONS_INIT;
    o.ignore = "[";
    o.ignore_len = 1;
    is_int(moonsand_pack_tree(p, "", top, &o, NULL), -1, "a pattern that is none");
    is_int(moonsand_pack_tree(p, "/x", top, NULL, NULL), -1, "a prefix that is none");
    is_list(p, "", "what failed is not in it");
    moonsand_pack_free(NULL);
}

/* Measures, then changes something by a function, then sends. */
static void changing(const char *what, void (*change)(void), bool good)
{
    mkdir(at("c"), 0755);
    write_file("c/a", "12345", 0644);
    write_file("c/b", "12345", 0644);
    moonsand_pack *p = tree("c", NULL);
    char why[512] = "";
    const moonsand_pack_facts *f = measure(p, why, sizeof why);
    change();
    moonsand_error *err = NULL;
    ms_buf b = stream(p, &err);
    if (good) {
        ok(err == NULL && f != NULL && b.len == f->bytes, "%s is sent", what);
    } else {
        ok(f != NULL && b.len <= f->bytes - 1024, "%s: the end is not sent", what);
        ok(moonsand_error_code(err) == MOONSAND_E_CONFLICT, "%s: %s", what,
           moonsand_error_message(err));
    }
    moonsand_error_free(err);
    ms_buf_free(&b);
    moonsand_pack_free(p);
    ms_remove_tree(at("c"));
}

static void nothing(void)
{
}
static void contents(void)
{
    write_file("c/b", "1234X", 0644);
}
static void longer(void)
{
    write_file("c/b", "123456", 0644);
}
static void much_longer(void)
{
    write_file("c/a", "", 0644);
    if (truncate(at("c/a"), 5000) != 0)
        fail("truncate");
}
static void shorter(void)
{
    write_file("c/b", "1", 0644);
}
static void one_more(void)
{
    write_file("c/c", "1", 0644);
}
static void two_empty_more(void)
{
    /* as long as the end of the archive */
    write_file("c/c", "", 0644);
    write_file("c/d", "", 0644);
}
static void one_less(void)
{
    unlink(at("c/b"));
}
static void mode(void)
{
    chmod(at("c/b"), 0755);
}

/* A file that changes between its header and its last piece. */
static void during(int64_t by)
{
    write_file("big", "", 0644);
    if (truncate(at("big"), 2 << 20) != 0)
        fail("truncate");
    moonsand_pack *p = file(at("big"));
    char why[512] = "", piece[4096];
    ms_pack_reader *r;
    moonsand_error *err = NULL;
    measure(p, why, sizeof why);
    ms_pack_reader_new(&r, p, true, NULL);
    ms_pack_reader_read(r, piece, sizeof piece, NULL);
    ms_pack_reader_read(r, piece, sizeof piece, NULL);
    if (truncate(at("big"), (2 << 20) + by) != 0)
        fail("truncate");
    ssize_t n;
    while ((n = ms_pack_reader_read(r, piece, sizeof piece, &err)) > 0)
        ;
    ok(n < 0 && strstr(moonsand_error_message(err), "big changed while it was being sent"),
       "a file that %s: %s", by < 0 ? "shrinks" : "grows", moonsand_error_message(err));
    moonsand_error_free(err);
    ms_pack_reader_free(r);
    moonsand_pack_free(p);
    unlink(at("big"));
}

/* Root may read everything; so this is another user's process. */
static int as_nobody(void)
{
    char why[512] = "";
    if (setgid(65534) != 0 || setuid(65534) != 0)
        return 2;
    moonsand_pack *p = tree("u", NULL);
    if (measure(p, why, sizeof why) != NULL || strstr(why, "u/secret: Permission denied") == NULL)
        return 1;
    moonsand_pack_free(p);
    p = tree("u", "secret\n");
    if (measure(p, why, sizeof why) != NULL || strstr(why, "u/shut: Permission denied") == NULL)
        return 1;
    moonsand_pack_free(p);
    p = tree("u", "s*\n");
    if (measure(p, why, sizeof why) == NULL)
        return 1;
    moonsand_pack_free(p);
    return 0;
}

static void unreadable(void)
{
    if (geteuid() != 0) {
        skip("another user can be tried as root only");
        return;
    }
    chmod(top, 0755);
    mkdir(at("u"), 0755);
    mkdir(at("u/shut"), 0700);
    write_file("u/secret", "x", 0600);
    write_file("u/open", "x", 0644);
    pid_t pid = fork();
    if (pid == 0)
        _exit(as_nobody());
    int status = -1;
    waitpid(pid, &status, 0);
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "what cannot be read is named");
}

/* One directory's names are held, not the tree; sorted whatever order the file system has. */
static void many(void)
{
    char name[64];
    mkdir(at("m"), 0755);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "m/%d", i);
        write_file(name, "", 0644);
    }
    moonsand_pack *p = tree("m", "7*\n");
    char why[512] = "";
    const moonsand_pack_facts *f = measure(p, why, sizeof why);
    ok(f != NULL && f->files == 5000 - 111 && f->excluded == 111, "5000 files, 111 excluded");
    is_int(f != NULL ? (long long)f->bytes : -1, (5000 - 111 + 2) * 512, "512 bytes each");
    moonsand_pack_free(p);
}

int main(void)
{
    snprintf(top, sizeof top, "/tmp/ms-pack-XXXXXX");
    if (mkdtemp(top) == NULL)
        return 1;
    order();
    escaping();
    hash();
    in_steps();
    names();
    special();
    paths();
    changing("what stays as it is", nothing, true);
    changing("changed contents", contents, false);
    changing("a longer file", longer, false);
    changing("a much longer file", much_longer, false);
    changing("a shorter file", shorter, false);
    changing("one file more", one_more, false);
    changing("two empty files more", two_empty_more, false);
    changing("one file less", one_less, false);
    changing("a changed mode", mode, false);
    during(-4096);
    during(1);
    unreadable();
    many();
    ms_remove_tree(top);
    return done_testing();
}
