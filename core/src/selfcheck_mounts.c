#include <string.h>

#include "selfcheck.h"

#define POINT_MAX 1024
#define LINES_MAX 4096
#define PAGE_MAX 65536 /* sizes are rounded up to pages; arm64 has some of 64 KiB */

typedef struct mount {
    char point[POINT_MAX]; /* decoded; "?" when it is too long */
    ms_slice root, options, type, super;
    bool writable;
} mount;

/* name, or name=value (then *value); false when there is none. */
static bool option(ms_slice list, const char *name, ms_slice *value)
{
    size_t n = strlen(name);
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t len = comma ? (size_t)(comma - list.p) : list.n;
        if (len >= n && memcmp(list.p, name, n) == 0 && (len == n || list.p[n] == '=')) {
            if (value)
                *value = (ms_slice){list.p + n + (len > n), len - n - (len > n)};
            return true;
        }
        list.p += len + (comma != NULL);
        list.n -= len + (comma != NULL);
    }
    return false;
}

/* Blanks in names are written as \040. */
static void decode(char out[POINT_MAX], ms_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < POINT_MAX; n++) {
        char c = s.p[i++];
        if (c == '\\' && s.n - i >= 3) {
            unsigned v = 0;
            for (size_t k = 0; k < 3; k++, i++)
                v = v * 8 + ((unsigned)s.p[i] - '0') % 8;
            c = (char)(v & 0xff);
        }
        out[n] = c;
    }
    if (n < POINT_MAX)
        out[n] = 0;
    else
        memcpy(out, "?", 2);
}

/* 36 35 98:0 /root /point options optional... - type source super */
static bool parse(mount *m, ms_slice line)
{
    ms_slice word, point;
    for (size_t i = 0; i < 3; i++) {
        if (!ms_slice_word(&line, &word))
            return false;
    }
    if (!ms_slice_word(&line, &m->root) || !ms_slice_word(&line, &point) ||
        !ms_slice_word(&line, &m->options))
        return false;
    do {
        if (!ms_slice_word(&line, &word))
            return false;
    } while (!ms_slice_is(word, "-"));
    if (!ms_slice_word(&line, &m->type) || !ms_slice_word(&line, &word) ||
        !ms_slice_word(&line, &m->super))
        return false;
    decode(m->point, point);
    m->writable = !option(m->options, "ro", NULL) && !option(m->super, "ro", NULL);
    return true;
}

static bool is(const mount *m, const char *point)
{
    return strcmp(m->point, point) == 0;
}

static bool below(const mount *m, const char *top)
{
    return ms_path_within(m->point, top) && !is(m, top);
}

static bool type(const mount *m, const char *name)
{
    return ms_slice_is(m->type, name);
}

static bool ram(const mount *m)
{
    return type(m, "tmpfs") || type(m, "devtmpfs");
}

/* A file system that holds nothing of the machine's: its root is mounted, not a part of it. */
static bool own_tmpfs(const mount *m)
{
    return type(m, "tmpfs") && ms_slice_is(m->root, "/");
}

static bool flags(const mount *m, bool noexec)
{
    return option(m->options, "nosuid", NULL) && option(m->options, "nodev", NULL) &&
           (!noexec || option(m->options, "noexec", NULL));
}

static bool sized(const mount *m, const char *name, uint64_t want, uint64_t slack)
{
    ms_slice v;
    uint64_t n;
    return option(m->super, name, &v) && ms_slice_number(v, true, &n) && n >= want &&
           n - want < slack;
}

static bool only_root_writes(const mount *m)
{
    ms_slice v;
    return own_tmpfs(m) && option(m->super, "mode", &v) && ms_slice_is(v, "755");
}

/* Binds of one device; its root in the file system that it comes from is its name there. */
static bool device(const mount *m)
{
    static const char *const names[] = {"/null", "/zero", "/full", "/random", "/urandom", "/tty"};
    if (!ram(m))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool here = below(m, "/dev") && strcmp(m->point + 4, names[i]) == 0;
        if (here && ms_slice_is(m->root, names[i]))
            return true;
    }
    return false;
}

static bool podman(const ms_walls *w)
{
    return strcmp(w->facts->kind, ms_profile_podman.kind) == 0;
}

static bool is_tmp(const ms_walls *w, const mount *m)
{
    const ms_limits *l = w->c->limits;
    return own_tmpfs(m) && flags(m, !l->exec_tmp) && sized(m, "size", l->disk_bytes, PAGE_MAX) &&
           (podman(w) || sized(m, "nr_inodes", l->disk_inodes, 1));
}

static bool is_shm(const ms_walls *w, const mount *m)
{
    return own_tmpfs(m) && flags(m, true) && sized(m, "size", w->c->limits->shm_bytes, PAGE_MAX);
}

/* All that may be writable, each with what makes it harmless. */
static bool writable_ok(const ms_walls *w, const mount *m)
{
    if (is(m, "/tmp"))
        return is_tmp(w, m);
    if (is(m, "/dev/shm"))
        return is_shm(w, m);
    if (is(m, "/proc"))
        return type(m, "proc") && ms_slice_is(m->root, "/") && flags(m, true);
    if (is(m, "/dev"))
        return only_root_writes(m) && option(m->options, "nosuid", NULL);
    if (is(m, "/dev/pts"))
        return type(m, "devpts") && option(m->options, "nosuid", NULL) &&
               option(m->options, "noexec", NULL);
    if (is(m, "/dev/mqueue"))
        return type(m, "mqueue") && flags(m, true);
    if (is(m, "/sys/fs/cgroup")) /* version 1: a directory for the controllers' own mounts */
        return only_root_writes(m);
    /* A masked file is the null device. */
    if (below(m, "/proc") || below(m, "/sys"))
        return ram(m) && ms_slice_is(m->root, "/null");
    return device(m);
}

/* Even a read-only mount can show the machine's files or sockets. */
static bool readonly_ok(const ms_walls *w, const mount *m)
{
    static const char *const files[] = {"/etc/hosts",  "/etc/hostname", "/etc/resolv.conf",
                                        "/etc/passwd", "/etc/group",    "/run/.containerenv",
                                        NULL};
    const ms_container *c = w->c;
    if (is(m, "/"))
        return true;
    if (is(m, "/sys"))
        return type(m, "sysfs");
    if (below(m, "/proc") || below(m, "/sys"))
        return ram(m) || type(m, "proc") || type(m, "sysfs") || type(m, "cgroup") ||
               type(m, "cgroup2");
    if (is(m, "/run") || is(m, "/var/tmp") || is(m, "/run/secrets"))
        return own_tmpfs(m);
    for (size_t i = 0; files[i]; i++) {
        if (is(m, files[i]))
            return true;
    }
    for (size_t i = 0; i < c->volume_count; i++) {
        if (is(m, c->volumes[i]))
            return own_tmpfs(m);
    }
    for (size_t i = 0; i < c->limits->bind_count; i++) {
        if (is(m, c->limits->binds[i].target))
            return true;
    }
    return false;
}

typedef struct seen {
    bool root, tmp, shm, proc_sys, sys;
    bool volume[MS_VOLUME_MAX], bind[MS_BIND_MAX];
} seen;

static void note(const ms_walls *w, seen *s, const mount *m)
{
    s->root |= is(m, "/");
    s->tmp |= is(m, "/tmp") && m->writable;
    s->shm |= is(m, "/dev/shm") && m->writable;
    s->sys |= is(m, "/sys") && !m->writable;
    s->proc_sys |= is(m, "/proc/sys") && !m->writable;
    for (size_t i = 0; i < w->c->volume_count && i < MS_VOLUME_MAX; i++)
        s->volume[i] |= is(m, w->c->volumes[i]);
    for (size_t i = 0; i < w->c->limits->bind_count && i < MS_BIND_MAX; i++)
        s->bind[i] |= is(m, w->c->limits->binds[i].target) && !m->writable;
}

static void absent(ms_walls *w, const seen *s)
{
    if (!s->root)
        ms_wall_missing(w, "the root file system is unknown");
    if (!s->tmp)
        ms_wall_missing(w, "/tmp is not a tmpfs of its own");
    if (!s->shm)
        ms_wall_missing(w, "/dev/shm is not a tmpfs of its own");
    if (!s->proc_sys)
        ms_wall_missing(w, "/proc/sys is not read-only");
    if (!s->sys)
        ms_wall_missing(w, "/sys is not read-only");
    for (size_t i = 0; i < w->c->volume_count && i < MS_VOLUME_MAX; i++) {
        /* Podman mounts none at all; a volume of its own making would have been found above. */
        if (!s->volume[i] && !podman(w) && ms_volume_needs_cover(w->c, w->c->volumes[i]))
            ms_wall_missing(w, "the image's volume %.100s is not covered", w->c->volumes[i]);
    }
    for (size_t i = 0; i < w->c->limits->bind_count && i < MS_BIND_MAX; i++) {
        if (!s->bind[i])
            ms_wall_missing(w, "the bind %.100s is not there, or writable",
                            w->c->limits->binds[i].target);
    }
}

void ms_check_mounts(ms_walls *w, ms_slice text)
{
    seen s = {0};
    mount m;
    ms_slice line;
    for (size_t lines = 0; ms_slice_line(&text, &line); lines++) {
        if (lines >= LINES_MAX || !parse(&m, line)) {
            ms_wall_missing(w, "the mount table cannot be read");
            break;
        }
        note(w, &s, &m);
        if (m.writable ? writable_ok(w, &m) : readonly_ok(w, &m))
            continue;
        if (is(&m, "/"))
            ms_wall_missing(w, "the root file system is writable");
        else
            ms_wall_missing(w, "%s mount at %.100s",
                            m.writable ? "writable or wrong" : "unexpected", m.point);
    }
    absent(w, &s);
}
