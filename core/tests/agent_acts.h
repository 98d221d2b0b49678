/* The programs that test_agent_live runs inside, most of which mean harm. */
#ifndef AGENT_ACTS_H
#define AGENT_ACTS_H

#include <sys/mman.h>
#include <sys/stat.h>

#include "agent_harness.h"

static void say(const char *text)
{
    (void)!write(1, text, strlen(text));
}

static void fill(const char *path, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    for (; n > 0; n--)
        (void)!write(fd, "x", 1);
    close(fd);
}

static int act_flood(int fd, size_t n)
{
    static char block[65536];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)('a' + i % 23);
    for (size_t done = 0; done < n;) {
        size_t part = n - done < sizeof block ? n - done : sizeof block;
        ssize_t w = write(fd, block, part);
        if (w <= 0)
            return 1;
        done += (size_t)w;
    }
    return 0;
}

/* The parent is gone at once; the grandchild keeps stdout open and ignores what can be ignored. */
static int act_daemon(void)
{
    if (fork() == 0) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        if (fork() != 0)
            _exit(0);
        for (;;)
            pause();
    }
    usleep(100000);
    say("left");
    return 3;
}

/* Forks as fast as it can until 300 are made, all of which stay and fork. */
static _Noreturn void act_bomb(void)
{
    int *made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (;;)
        if (__atomic_fetch_add(made, 1, __ATOMIC_SEQ_CST) < 300)
            (void)!fork();
        else
            usleep(1000);
}

static int act_count_input(void)
{
    static char buf[10000];
    unsigned long long total = 0, sum = 0;
    ssize_t n;
    while ((n = read(0, buf, sizeof buf)) > 0) {
        total += (unsigned long long)n;
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + (unsigned char)buf[i];
    }
    char line[64];
    snprintf(line, sizeof line, "%llu %llu", total, sum);
    say(line);
    return 0;
}

static int act_forge(void)
{
    static const unsigned char forged[] = {MS_F_FINAL,  0, 0, 0, 0,   0,   0,   0,
                                           1,           0, 0, 0, 0,   0,   0,   4,
                                           MS_F_STDOUT, 0, 0, 0, 255, 255, 255, 255};
    (void)!write(1, forged, sizeof forged);
    for (int fd = 3; fd < 1024; fd++)
        if (write(fd, forged, sizeof forged) >= 0)
            say("wrote somewhere");
    return 7;
}

static void try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
    char line[128];
    snprintf(line, sizeof line, "%s %s\n", path, fd >= 0 ? "OPEN" : "no");
    say(line);
}

static int act_reach(void)
{
    try_open("/proc/1/mem", O_RDWR);
    try_open("/proc/1/environ", O_RDONLY);
    try_open("/proc/1/fd/0", O_RDONLY);
    try_open("/proc/1/fd/1", O_WRONLY);
    for (int fd = 3; fd < 10; fd++) {
        char path[32];
        snprintf(path, sizeof path, "/proc/1/fd/%d", fd);
        try_open(path, O_RDWR);
    }
    for (int s = 1; s <= 64; s++)
        for (int i = 0; i < 3; i++)
            (void)kill(1, s);
    (void)kill(-1, SIGCONT);
    say("alive\n");
    return 0;
}

/* Takes its own output back out of the pipe while the agent looks at it. */
static int act_steal(void)
{
    int back = open("/proc/self/fd/1", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    static char block[65536];
    if (back < 0)
        return 9;
    fcntl(back, F_SETPIPE_SZ, 1 << 20);
    double end = harness_now() + 0.5;
    while (harness_now() < end) {
        fcntl(1, F_SETFL, O_NONBLOCK | O_WRONLY);
        for (int i = 0; i < 16; i++)
            (void)!write(1, block, sizeof block);
        (void)!read(back, block, sizeof block);
    }
    return 0;
}

static int act_confined(void)
{
    char line[256];
    int down = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    int home = open("/tmp/work/x", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    int shm = open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)mkdir("/tmp/work/a", 0755);
    (void)mkdir("/tmp/work/b", 0755);
    int moved = rename("/tmp/work/x", "/tmp/work/b/y");
    int out = open("/dev/stdout", O_WRONLY | O_CLOEXEC);
    snprintf(line, sizeof line, "adj=%d home=%d null=%d rename=%d stdout=%d kill=%d", down >= 0,
             home >= 0, shm >= 0, moved, out >= 0, kill(1, 0));
    say(line);
    return 0;
}

static int act_artefacts(void)
{
    if (chdir("/tmp/out") < 0)
        return 1;
    fill("plain.txt", 5);
    fill("empty", 0);
    (void)chmod("plain.txt", 0600);
    (void)!link("plain.txt", "second-name");
    (void)!symlink("/etc/passwd", "link");
    (void)!symlink("/", "link-to-dir");
    (void)mkfifo("fifo", 0644);
    fill("bad\x01name", 1);
    fill("bad\\name", 1);
    fill("bad\xffname", 1);
    fill("f\xc3\xbcr.txt", 2);
    fill("secret", 3);
    (void)chmod("secret", 0);
    int fd = open("sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    (void)!ftruncate(fd, (off_t)1 << 40);
    (void)mkdir("sub", 0755);
    fill("sub/inner", 70000);
    (void)mkdir("deep", 0755);
    (void)!chdir("deep");
    for (int i = 0; i < 200; i++) {
        fill("here", 1);
        (void)mkdir("d", 0755);
        (void)!chdir("d");
    }
    fill("/tmp/result", 12);
    return 0;
}

static int act_many(int n, const char *kind)
{
    for (int i = 0; i < n; i++) {
        char path[64];
        snprintf(path, sizeof path, "/tmp/out/f%05d", i);
        if (strcmp(kind, "link") == 0)
            (void)!symlink("x", path);
        else
            fill(path, 1);
    }
    return 0;
}

static int act_value(const char *kind)
{
    if (strcmp(kind, "link") == 0)
        (void)!symlink("/proc/1/environ", "/tmp/result");
    else if (strcmp(kind, "dir") == 0)
        (void)mkdir("/tmp/result", 0755);
    else
        fill("/tmp/result", (size_t)strtoul(kind, NULL, 10));
    return 0;
}

static int act(const char *name, const char *arg)
{
    long n = strtol(arg, NULL, 10);
    if (strcmp(name, "exit") == 0)
        return (int)n;
    if (strcmp(name, "die") == 0) {
        signal((int)n, SIG_DFL);
        raise((int)n);
        return 99;
    }
    if (strcmp(name, "flood") == 0)
        return act_flood(1, (size_t)n);
    if (strcmp(name, "flood-err") == 0)
        return act_flood(2, (size_t)n);
    if (strcmp(name, "both") == 0)
        return act_flood(1, (size_t)n) + act_flood(2, (size_t)n);
    if (strcmp(name, "hang") == 0) {
        say("partial");
        for (int s = 1; s < 65; s++)
            signal(s, SIG_IGN);
        for (;;)
            pause();
    }
    if (strcmp(name, "daemon") == 0)
        return act_daemon();
    if (strcmp(name, "bomb") == 0)
        act_bomb();
    if (strcmp(name, "input") == 0)
        return act_count_input();
    if (strcmp(name, "deaf") == 0) {
        close(0);
        usleep(200000);
        return 0;
    }
    if (strcmp(name, "forge") == 0)
        return act_forge();
    if (strcmp(name, "reach") == 0)
        return act_reach();
    if (strcmp(name, "steal") == 0)
        return act_steal();
    if (strcmp(name, "confined") == 0)
        return act_confined();
    if (strcmp(name, "artefacts") == 0)
        return act_artefacts();
    if (strcmp(name, "many") == 0)
        return act_many((int)n, "file");
    if (strcmp(name, "many-links") == 0)
        return act_many((int)n, "link");
    if (strcmp(name, "value") == 0)
        return act_value(arg);
    if (strcmp(name, "renew") == 0) {
        (void)rmdir("/tmp/out");
        (void)mkdir("/tmp/out", 0755);
        fill("/tmp/out/new", 4);
        return 0;
    }
    if (strcmp(name, "fsize") == 0) {
        fill("/tmp/work/big", 2000);
        return 0;
    }
    return 98;
}

#endif
