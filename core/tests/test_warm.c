/* The options of what is kept ready, and the frame that asks for a fork server. */
#include "json.h"
#include "spec_make.h"
#include "warm.h"

/* INVALID with a message that holds `part`; or fine (NULL). */
static void resolves(const moonsand_sandbox_options *o, const char *part, const char *name)
{
    ms_warm w;
    moonsand_error *err = NULL;
    int rc = ms_warm_resolve(&w, o, &err);
    if (part)
        ok(rc == -1 && moonsand_error_code(err) == MOONSAND_E_INVALID &&
               strstr(moonsand_error_message(err), part),
           "%s: %s", name, moonsand_error_message(err));
    else
        ok(rc == 0, "%s: %s", name, moonsand_error_message(err));
    if (rc == 0)
        ms_warm_free(&w);
    moonsand_error_free(err);
}

static void test_defaults(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    ms_warm w;
    is_int(ms_warm_resolve(&w, &o, NULL), 0, "nothing asked for");
    ok(w.workers == 0 && !w.server && w.mode == MOONSAND_MODE_CONTAINER, "nothing is kept ready");
    ms_warm_free(&w);
    o.mode = MOONSAND_MODE_FORK;
    is_int(ms_warm_resolve(&w, &o, NULL), 0, "fork mode");
    ok(w.workers == 1 && w.server && w.max_runs == 10000 && w.max_age_ns == 3600000000000,
       "has one worker, for so many runs and so long");
    is_str(w.language, "python", "of Python");
    is_str(w.interpreter, "python3", "by the usual name");
    ms_warm_free(&w);
    o.language = "lua";
    is_int(ms_warm_resolve(&w, &o, NULL), 0, "or Lua");
    is_str(w.interpreter, "lua5.4", "by its name");
    ms_warm_free(&w);
}

static void test_misuse(void)
{
    static const char *const names[] = {"numpy", "matplotlib.pyplot"}, *const bad[] = {"os; x"},
                             *const more[] = {"gr\xc3\xb6\xc3\x9f"
                                              "e.\xe5\x90\x8d"},
                             *const cut[] = {"gr\xc3"}, *const quoted[] = {"gr\xc3\xb6 x"},
                             *const none[] = {NULL};
    moonsand_sandbox_options plain = MOONSAND_SANDBOX_OPTIONS_INIT, o = plain;
    o.preload = names;
    o.preload_count = 2;
    resolves(&o, "workers", "preload without workers");
    o.workers = 1;
    resolves(&o, NULL, "and with one");
    o.preload = bad;
    o.preload_count = 1;
    resolves(&o, "os; x", "a module with code in its name");
    o.preload = more;
    resolves(&o, NULL, "a module with letters beyond ASCII");
    o.preload = cut;
    resolves(&o, "preload", "which must be UTF-8");
    o.preload = quoted;
    resolves(&o, "preload", "and letters only");
    o.preload = none;
    resolves(&o, "preload", "a module without a name");
    o.preload_count = 65;
    resolves(&o, "65", "too many modules");
    o = plain;
    o.workers = 1025;
    resolves(&o, "1024", "too many workers");
    o = plain;
    o.require = MOONSAND_TIER_NAMESPACES;
    resolves(&o, "require", "require in container mode");
    o.mode = MOONSAND_MODE_FORK;
    resolves(&o, NULL, "and in fork mode");
    o.require = (moonsand_tier)3;
    resolves(&o, "require", "an unknown tier");
    o = plain;
    o.mode = (moonsand_mode)2;
    resolves(&o, "mode", "an unknown mode");
    o = plain;
    o.mode = MOONSAND_MODE_FORK;
    o.language = "perl";
    resolves(&o, "perl", "an unknown language");
    o.language = NULL;
    static const char *const programs[] = {"/usr/bin/python3", "python3 -S", "", "-c", "../x"};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        o.interpreter = programs[i];
        resolves(&o, "interpreter", "an interpreter that is no plain name");
    }
    o.interpreter = "pypy3.9";
    resolves(&o, NULL, "another interpreter");
    o.max_age_ns = 1000;
    resolves(&o, "max_age", "a short life");
    o.max_age_ns = UINT64_MAX;
    resolves(&o, "max_age", "a long one");
    static char script[MS_PROTO_MAX / 4 + 2];
    memset(script, ' ', sizeof script - 1);
    o.max_age_ns = 0;
    o.preload_script = script;
    resolves(&o, "preload_script", "a long script");
}

/* The text of the nth field with a tag; "" when there is none. */
static const char *field(const ms_buf *b, int tag, int nth, char *out, size_t size)
{
    size_t at = MS_PROTO_HEAD;
    out[0] = '\0';
    while (at + 5 <= b->len) {
        const unsigned char *p = (const unsigned char *)b->data + at;
        size_t n = ms_get_u32(p + 1);
        if (p[0] == tag && nth-- == 0 && n < size) {
            memcpy(out, p + 5, n);
            out[n] = '\0';
            return out;
        }
        at += 5 + n;
    }
    return out;
}

static long long field_number(const ms_buf *b, int tag)
{
    char text[16];
    memset(text, 0xff, sizeof text);
    field(b, tag, 0, text, sizeof text);
    return (long long)ms_get_u64((const unsigned char *)text);
}

static void test_frame(void)
{
    static const char *const names[] = {"numpy", "pandas"};
    char text[256];
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "x";
    o.mode = MOONSAND_MODE_FORK;
    o.preload = names;
    o.preload_count = 2;
    o.preload_script = "x = 1\ny = 2\n";
    o.disk_bytes = 1 << 20;
    ms_limits l = limits(&o, &docker_v1);
    ms_warm w;
    ms_buf b = {0};
    ms_warm_resolve(&w, &o, NULL);
    is_int(ms_warm_put_server(&b, &w, &l, "/bin", "C.UTF-8"), 0, "the frame SERVER");
    is_int((unsigned char)b.data[0], MS_F_SERVER, "is one");
    is_int(ms_get_u32((const unsigned char *)b.data + 4), (long)b.len - MS_PROTO_HEAD,
           "of its length");
    is_str(field(&b, MS_T_LANGUAGE, 0, text, sizeof text), "python", "language");
    is_str(field(&b, MS_T_ARGV, 0, text, sizeof text), "python3", "interpreter");
    is_str(field(&b, MS_T_ENV, 0, text, sizeof text), "PATH=/bin", "the image's PATH");
    is_str(field(&b, MS_T_ENV, 1, text, sizeof text), "LANG=C.UTF-8", "and LANG");
    is_str(field(&b, MS_T_ENV, 5, text, sizeof text), "OPENBLAS_NUM_THREADS=1", "no threads");
    is_str(field(&b, MS_T_PRELOAD, 0, text, sizeof text), "numpy", "a module");
    is_str(field(&b, MS_T_PRELOAD, 1, text, sizeof text), "pandas", "and another");
    is_str(field(&b, MS_T_PRELOAD_SCRIPT, 0, text, sizeof text), "x = 1\ny = 2\n", "the script");
    is_int(field_number(&b, MS_T_TIER_LOWEST), MS_TIER_LANDLOCK, "at least Landlock");
    is_int(field_number(&b, MS_T_TMP_BYTES), 1 << 20, "size of /tmp");
    is_int(field_number(&b, MS_T_TMP_INODES), 8192, "and files in it");
    is_int(field_number(&b, MS_T_SHM_BYTES), 16 << 20, "size of /dev/shm");
    is_int(field_number(&b, MS_T_FSIZE), 1 << 20, "largest file");
    ok(field_number(&b, MS_T_NET_SHARED) == 0 && field_number(&b, MS_T_TMP_EXEC) == 0,
       "a network of its own, nothing executed in /tmp");
    b.len = 0;
    w.require = MOONSAND_TIER_NAMESPACES;
    l.exec_tmp = true;
    l.network = MOONSAND_NETWORK_BRIDGE;
    ms_warm_put_server(&b, &w, &l, "/bin", "C");
    is_int(field_number(&b, MS_T_TIER_LOWEST), MS_TIER_NAMESPACES, "required: namespaces");
    ok(field_number(&b, MS_T_NET_SHARED) == 1 && field_number(&b, MS_T_TMP_EXEC) == 1,
       "the exceptions are passed on");
    b.len = 0;
    w.mode = MOONSAND_MODE_CONTAINER;
    w.require = MOONSAND_TIER_NONE;
    ms_warm_put_server(&b, &w, &l, "/bin", "C");
    is_int(field_number(&b, MS_T_TIER_LOWEST), MS_TIER_NONE, "one run alone needs no walls inside");
    ms_buf_free(&b);
    ms_warm_free(&w);
    ms_limits_free(&l);
}

/* What differs in the container's own description. */
static void test_container(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    char path[256], why[256];
    o.image = "x";
    ms_limits l = limits(&o, &docker_v1);
    ms_container c = container(&l);
    c.server = true;
    json_t *v = make(&c, &docker_v1, path, sizeof path, why, sizeof why);
    is_json(v, "HostConfig.PidsLimit", "130");
    const char *seccomp =
        json_string_value(json_array_get(ms_json_at(v, "HostConfig.SecurityOpt"), 1));
    ok(seccomp && strstr(seccomp, "\"clone3\",\"mount\""), "docker: the fork server's filter");
    json_decref(v);
    v = make(&c, &podman_v2, path, sizeof path, why, sizeof why);
    is_json(v, "resource_limits.pids.limit", "130");
    json_decref(v);

    ms_buf b = {0};
    ms_applied a = {.landlocked = true,
                    .fork = true,
                    .tier = MS_TIER_NAMESPACES,
                    .namespaces = "user,mnt",
                    .trust_key = "al\"ice",
                    .worker_runs = 7};
    is_int(ms_isolation_json(&b, &c, &docker_v1, &a, NULL), 0, "isolation");
    v = json_loadb(b.data, b.len, 0, NULL);
    is_json(v, "mode", "\"fork\"");
    is_json(v, "tier", "\"namespaces\"");
    is_json(v, "namespaces", "[\"user\",\"mnt\"]");
    is_json(v, "trust_key", "\"al\\\"ice\"");
    is_json(v, "worker_runs", "7");
    is_json(v, "pids", "128");
    json_decref(v);
    b.len = 0;
    a = (ms_applied){.fell_back = "clone3: EPERM", .preloaded = true};
    is_int(ms_isolation_json(&b, &c, &docker_v1, &a, NULL), 0, "isolation after a fall back");
    v = json_loadb(b.data, b.len, 0, NULL);
    is_json(v, "mode", "\"container\"");
    is_json(v, "fell_back", "\"clone3: EPERM\"");
    is_json(v, "preloaded", "true");
    ok(!json_object_get(v, "tier") && !json_object_get(v, "trust_key"),
       "without fork mode's parts");
    json_decref(v);
    ms_buf_free(&b);
    ms_limits_free(&l);
}

int main(void)
{
    test_defaults();
    test_misuse();
    test_frame();
    test_container();
    return done_testing();
}
