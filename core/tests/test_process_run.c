/* Programs that the core runs and waits for (iptables and its like). */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop.h"
#include "process.h"
#include "tap.h"

static char said[100];
static int status;

static int sh(const char *code, const char *input, int64_t limit, moonsand_error **err)
{
    char text[300];
    snprintf(text, sizeof text, "%s", code);
    char *const argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, text, NULL};
    char *const envp[] = {(char[]){"PATH=/bin:/usr/bin"}, (char[]){"WORD=here"}, NULL};
    status = -1;
    return ms_process_run(&status, argv, envp, input, said, sizeof said, limit, err);
}

static void test_ending(void)
{
    is_int(sh("exit 0", NULL, 5 * MS_S, NULL), 0, "it ran");
    is_int(status, 0, "  status 0");
    is_int(sh("echo no >&2; echo out; exit 3", NULL, 5 * MS_S, NULL), 0, "it ran");
    is_int(status, 3, "  status 3");
    is_str(said, "no", "  what it said, without what it printed");
    is_int(sh("kill -9 $$", NULL, 5 * MS_S, NULL), 0, "it was killed");
    is_int(status, 128 + SIGKILL, "  status 128 + 9");
    is_int(sh("printf 'a\\033[2Jb\\n' >&2", NULL, 5 * MS_S, NULL), 0, "control characters");
    is_str(said, "a?[2Jb", "  are not passed on");
    is_int(sh("head -c 5000000 /dev/zero | tr '\\0' x >&2", NULL, 20 * MS_S, NULL), 0,
           "more than a pipe holds");
    ok(strlen(said) < sizeof said && said[0] == 'x', "  is cut");
}

static void test_input(void)
{
    is_int(sh("cat >&2; echo \"$WORD\" >&2", "some text\n", 5 * MS_S, NULL), 0,
           "input and environment");
    ok(strncmp(said, "some text", 9) == 0 && strstr(said, "here"), "  arrive: %s", said);
    is_int(sh("cat >&2", NULL, 5 * MS_S, NULL), 0, "without input");
    is_str(said, "", "  it is empty");
}

static void test_descriptors(void)
{
    int fd = open("/dev/null", O_RDONLY); /* not close-on-exec, as a careless host's */
    char code[100];
    snprintf(code, sizeof code, "test ! -e /proc/self/fd/%d", fd);
    is_int(sh(code, NULL, 5 * MS_S, NULL), 0, "with a descriptor open");
    is_int(status, 0, "  it does not have it");
    close(fd);
}

/* A host that reaps its children itself. */
static void test_ignored_sigchld(void)
{
    signal(SIGCHLD, SIG_IGN);
    is_int(sh("exit 4", NULL, 5 * MS_S, NULL), 0, "with SIGCHLD ignored");
    is_int(status, 4, "  the status arrives");
    signal(SIGCHLD, SIG_DFL);
}

static void test_errors(void)
{
    moonsand_error *err = NULL;
    int64_t began = ms_now_ns();
    is_int(sh("sleep 30 & sleep 30", NULL, MS_S / 5, &err), -1, "what does not end");
    is_int(moonsand_error_code(err), MOONSAND_E_TIMEOUT, "  %s", moonsand_error_message(err));
    ok(ms_now_ns() - began < 5 * MS_S, "  is killed in time");
    moonsand_error_free(err);
    err = NULL;
    char *const argv[] = {(char[]){"/nonexistent/program"}, NULL}, *const envp[] = {NULL};
    is_int(ms_process_run(&status, argv, envp, NULL, said, sizeof said, MS_S, &err), -1,
           "no program");
    is_int(moonsand_error_code(err), MOONSAND_E_NOT_FOUND, "  %s", moonsand_error_message(err));
    moonsand_error_free(err);
}

int main(void)
{
    alarm(60);
    test_ending();
    test_input();
    test_descriptors();
    test_ignored_sigchld();
    test_errors();
    return done_testing();
}
