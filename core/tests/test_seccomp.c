/* The seccomp profile and its file. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spec_make.h"

static void seccomp(void)
{
    ms_buf a = {0}, b = {0}, d = {0};
    is_int(ms_seccomp_json(&a, "x86_64", false, NULL), 0, "seccomp amd64");
    is_int(ms_seccomp_json(&b, "amd64", false, NULL), 0, "by its other name");
    is_int(ms_seccomp_json(&d, "arm64", false, NULL), 0, "seccomp arm64");
    is_str(a.data, b.data, "equal bytes");
    json_t *v = json_loadb(a.data, a.len, JSON_REJECT_DUPLICATES, NULL);
    is_json(v, "defaultAction", "\"SCMP_ACT_ERRNO\"");
    is_json(v, "architectures", "[\"SCMP_ARCH_X86_64\"]");
    json_t *arm = json_loadb(d.data, d.len, JSON_REJECT_DUPLICATES, NULL);
    is_json(arm, "architectures", "[\"SCMP_ARCH_AARCH64\"]");
    json_decref(arm);
    const json_t *plain =
        json_object_get(json_array_get(json_object_get(v, "syscalls"), 0), "names");
    static const char *const never[] = {"clone",
                                        "clone3",
                                        "unshare",
                                        "setns",
                                        "mount",
                                        "umount2",
                                        "pivot_root",
                                        "chroot",
                                        "ptrace",
                                        "process_vm_readv",
                                        "process_vm_writev",
                                        "process_madvise",
                                        "pidfd_getfd",
                                        "kcmp",
                                        "keyctl",
                                        "add_key",
                                        "request_key",
                                        "bpf",
                                        "perf_event_open",
                                        "io_uring_setup",
                                        "userfaultfd",
                                        "shmget",
                                        "semget",
                                        "msgget",
                                        "mq_open",
                                        "mknod",
                                        "mknodat",
                                        "setxattr",
                                        "socket",
                                        "socketpair",
                                        "socketcall",
                                        "personality",
                                        "ioctl",
                                        "vmsplice",
                                        "memfd_secret",
                                        "sync",
                                        "syncfs",
                                        "open_by_handle_at",
                                        "name_to_handle_at",
                                        "init_module",
                                        "finit_module",
                                        "kexec_load",
                                        "reboot",
                                        "syslog",
                                        "modify_ldt",
                                        "open_tree",
                                        "move_mount",
                                        "fsopen",
                                        "quotactl",
                                        "swapon",
                                        "settimeofday",
                                        "clock_settime",
                                        "acct",
                                        "iopl",
                                        "ioperm"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        ok(!in_array(plain, never[i]), "%s is not simply allowed", never[i]);
    static const char *const needed[] = {"landlock_create_ruleset",
                                         "landlock_add_rule",
                                         "landlock_restrict_self",
                                         "signalfd4",
                                         "timerfd_create",
                                         "epoll_pwait",
                                         "splice",
                                         "close_range",
                                         "prctl",
                                         "wait4",
                                         "waitid",
                                         "setrlimit",
                                         "kill",
                                         "execve",
                                         "memfd_create",
                                         "futex",
                                         "rseq",
                                         "openat2",
                                         "seccomp",
                                         "pidfd_open"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        ok(in_array(plain, needed[i]), "%s is allowed", needed[i]);
    bool sorted = true;
    for (size_t i = 1; i < json_array_size(plain); i++)
        sorted &= strcmp(json_string_value(json_array_get(plain, i - 1)),
                         json_string_value(json_array_get(plain, i))) < 0;
    ok(sorted, "the names are sorted, each once");
    size_t i;
    json_t *rule;
    bool closed = true;
    json_array_foreach(json_object_get(v, "syscalls"), i, rule)
    {
        bool allow = strcmp(ms_json_str(rule, "action", ""), "SCMP_ACT_ALLOW") == 0;
        if (i > 0 && allow && json_array_size(json_object_get(rule, "args")) == 0)
            closed = false;
    }
    ok(closed, "what is allowed besides looks at arguments");
    json_decref(v);

    /* With a fork server, two calls more and nothing else. */
    ms_buf with = {0};
    is_int(ms_seccomp_json(&with, "amd64", true, NULL), 0, "seccomp with a fork server");
    v = json_loadb(with.data, with.len, 0, NULL);
    plain = json_object_get(json_array_get(json_object_get(v, "syscalls"), 0), "names");
    json_t *first = json_loadb(a.data, a.len, 0, NULL);
    const json_t *few =
        json_object_get(json_array_get(json_object_get(first, "syscalls"), 0), "names");
    ok(in_array(plain, "clone3") && in_array(plain, "mount"), "it can make namespaces and mounts");
    is_int((long)json_array_size(plain), (long)json_array_size(few) + 2, "and nothing else");
    is_int((long)json_array_size(json_object_get(v, "syscalls")),
           (long)json_array_size(json_object_get(first, "syscalls")) - 1,
           "but for the rule against clone3 all rules are there");
    json_decref(first);
    json_decref(v);
    ms_buf_free(&with);
    ms_buf_free(&a);
    ms_buf_free(&b);
    ms_buf_free(&d);
    is_int(ms_seccomp_json(&a, "mips", false, NULL), -1, "another architecture is refused");
    is_int(ms_seccomp_json(&a, NULL, false, NULL), -1, "none is refused");
    ms_buf_free(&a);
}

static void seccomp_file(void)
{
    moonsand_error *err = NULL;
    char *one = NULL, *two = NULL;
    if (ms_seccomp_file(&one, "amd64", false, &err)) {
        skip("no place for the profile: %s", moonsand_error_message(err));
        moonsand_error_free(err);
        return;
    }
    struct stat before, after;
    ok(stat(one, &before) == 0 && (before.st_mode & 0777) == 0444, "%s is there, read-only", one);
    is_int(ms_seccomp_file(&two, "amd64", false, NULL), 0, "again");
    is_str(two, one, "the same path");
    ok(stat(two, &after) == 0 && before.st_ino == after.st_ino, "and the same file");
    int fd = chmod(two, 0644) ? -1 : open(two, O_WRONLY | O_CLOEXEC);
    ok(fd >= 0 && write(fd, "x", 1) == 1 && fchmod(fd, 0444) == 0, "spoil it");
    if (fd >= 0)
        close(fd);
    ms_free(two);
    is_int(ms_seccomp_file(&two, "amd64", false, NULL), 0, "once more");
    ok(stat(two, &after) == 0 && before.st_ino != after.st_ino && after.st_size == before.st_size,
       "a spoilt file is replaced");
    ms_free(one);
    ms_free(two);
}

int main(void)
{
    seccomp();
    seccomp_file();
    return done_testing();
}
