/* What the host says to the agent, and the rule for paths. */
#include <stdlib.h>
#include <string.h>

#include "agent_frames.h"
#include "tap.h"

static void test_encoder(void)
{
    const char *const argv[] = {"python3", "-c", ""}, *const env[] = {"A=b"};
    ms_agent_request r = {.argv = argv, .argc = 3, .env = env, .envc = 1, .cwd = "/tmp/w"};
    r.flags = MS_FLAG_STDIN;
    r.fsize = 77;
    ms_buf b = {0}, want = {0};
    is_int(ms_agent_put_request(&b, &r), 0, "a request");
    text(&want, MS_T_ARGV, "python3");
    text(&want, MS_T_ARGV, "-c");
    text(&want, MS_T_ARGV, "");
    text(&want, MS_T_ENV, "A=b");
    text(&want, MS_T_CWD, "/tmp/w");
    for (int tag = MS_T_WALL_LIMIT_NS; tag <= MS_T_FSIZE; tag++)
        number(&want, tag, tag == MS_T_FLAGS ? 2 : tag == MS_T_FSIZE ? 77 : 0);
    ok(b.len == want.len + 8 && b.data[0] == MS_F_REQUEST &&
           ms_get_u32((unsigned char *)b.data + 4) == want.len &&
           memcmp(b.data + 8, want.data, want.len) == 0,
       "its bytes");
    b.len = want.len = 0;

    is_int(ms_agent_put_file(&b, "a.py", 0644, "xyz", 3), 0, "a file");
    text(&want, MS_T_PATH, "a.py");
    number(&want, MS_T_MODE, 0644);
    number(&want, MS_T_SIZE, 3);
    ok(b.len == want.len + 8 + 8 + 3 && memcmp(b.data + 8, want.data, want.len) == 0 &&
           memcmp(b.data + b.len - 11, "\x03\0\0\0\0\0\0\x03xyz", 11) == 0,
       "its bytes");
    b.len = 0;
    ms_agent_put_file(&b, "a.py", 0644, NULL, 0);
    is_int((long long)b.len, (long long)want.len + 8, "an empty file has no data");
    b.len = 0;

    size_t big = ((size_t)5 << 20) + 1;
    char *p = calloc(1, big);
    is_int(ms_agent_put(&b, MS_F_STDIN, p, big), 0, "much standard input");
    size_t frames = 0, at = 0, most = 0;
    for (; at < b.len; frames++) {
        size_t len = ms_get_u32((unsigned char *)b.data + at + 4);
        most = len > most ? len : most;
        at += 8 + len;
    }
    ok(at == b.len && frames == 21 && most == MS_PROTO_STDIN_CREDIT, "in several frames");
    b.len = 0;
    ms_agent_put_file(&b, "big", 0644, p, big);
    ok(b.len == want.len - 1 + 8 + 6 * 8 + big, "a long file as well");
    b.len = 0;
    ms_agent_put(&b, MS_F_GO, NULL, 0);
    ok(b.len == 8 && memcmp(b.data, "\x04\0\0\0\0\0\0\0", 8) == 0, "an empty frame");
    memset(p, 'x', big - 1);
    const char *const huge[] = {p};
    r.argv = huge;
    r.argc = 1;
    is_int(ms_agent_put_request(&b, &r), -2, "a request that is too long");
    is_int((long long)b.len, 8, "leaves the buffer as it was");
    is_int(ms_agent_put(&b, MS_F_KILL, p, big), -2, "so does any other frame");
    free(p);
    ms_buf_free(&b);
    ms_buf_free(&want);
}

static void test_paths(void)
{
    static const char *const fine[] = {"a",
                                       "a/b",
                                       "...",
                                       "..a",
                                       ".a",
                                       "a/.b/c.txt",
                                       "-rf",
                                       "a b",
                                       "f\xc3\xbcr",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x8f\x96",
                                       "c:x",
                                       "~"};
    static const char *const wrong[] = {"",         "/",
                                        "/a",       "a/",
                                        "a//b",     ".",
                                        "..",       "a/.",
                                        "a/../b",   "a\\b",
                                        "\t",       "a\x7f",
                                        "\x80",     "\xc3",
                                        "\xe2\x82", "\xf4\x90\x80\x80",
                                        "\xc0\xaf", "\xed\xbf\xbf",
                                        "\xc2\x85"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        ok(ms_agent_path_ok(fine[i], strlen(fine[i])), "a good path: %s", fine[i]);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ok(!ms_agent_path_ok(wrong[i], strlen(wrong[i])), "a bad path: %zu", i);
    ok(!ms_agent_path_ok("a\0b", 3), "a NUL");
    char path[MS_PATH_MAX + 2];
    memset(path, 'x', sizeof path);
    ok(ms_agent_path_ok(path, 255) && !ms_agent_path_ok(path, 256), "a part's length");
    for (size_t i = 1; i < sizeof path; i += 2)
        path[i] = '/';
    ok(ms_agent_path_ok(path, 63) && !ms_agent_path_ok(path, 65), "the depth");
    memset(path, 'x', sizeof path);
    for (size_t i = 200; i < sizeof path; i += 201)
        path[i] = '/';
    ok(ms_agent_path_ok(path, 4096) && !ms_agent_path_ok(path, 4097), "the length");
}

int main(void)
{
    test_encoder();
    test_paths();
    return done_testing();
}
