/* Containers for the tests of what is asked of an engine: facts, a description, and its JSON. */
#ifndef SPEC_MAKE_H
#define SPEC_MAKE_H

#include <stdint.h>
#include <stdlib.h>

#include "json.h"
#include "spec.h"
#include "tap.h"

static const moonsand_engine_facts docker_v1 = {.kind = "docker",
                                                .api_version = "1.41",
                                                .arch = "x86_64",
                                                .cgroup_version = 1,
                                                .cpus = 64,
                                                .memory_bytes = 64ull << 30,
                                                .has_bridge = true};
static const moonsand_engine_facts podman_v2 = {.kind = "podman",
                                                .api_version = "1.41",
                                                .arch = "aarch64",
                                                .cgroup_version = 2,
                                                .cpus = 64,
                                                .memory_bytes = 64ull << 30,
                                                .rootless = true,
                                                .has_bridge = true};
static const char *const two_volumes[] = {"/data", "/tmp"};

static inline ms_container container(const ms_limits *l)
{
    return (ms_container){.limits = l,
                          .image_id = "sha256:0123",
                          .name = "moonsand-abc",
                          .owner = "m/b/1/2/3",
                          .lease_epoch_s = 1234567890123,
                          .uid = 20001,
                          .seccomp_path = "/run/moonsand/seccomp-x.json"};
}

/* What a profile writes for the container, with the call's path; NULL and why not. */
static inline json_t *make(const ms_container *c, const moonsand_engine_facts *facts, char *path,
                           size_t size, char *why, size_t why_size)
{
    ms_buf p = {0}, b = {0};
    moonsand_error *err = NULL;
    json_t *v = NULL;
    const ms_profile *profile = ms_profile_for(facts->kind);
    why[0] = 0;
    if (profile->create(&p, &b, c, facts, &err)) {
        (void)snprintf(why, why_size, "%s: %s", moonsand_code_name(moonsand_error_code(err)),
                       moonsand_error_message(err));
    } else {
        (void)snprintf(path, size, "%s", p.data);
        v = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    }
    moonsand_error_free(err);
    ms_buf_free(&p);
    ms_buf_free(&b);
    return v;
}

/* One check: the value at a path ("HostConfig.Memory") equals some JSON. */
static inline void is_json(const json_t *root, const char *path, const char *want)
{
    json_t *w = json_loads(want, JSON_DECODE_ANY, NULL);
    const json_t *got = ms_json_at(root, path);
    char *text = got ? json_dumps(got, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    ok(w && got && json_equal(w, got), "%s is %s (%.200s)", path, want, text ? text : "absent");
    free(text);
    json_decref(w);
}

static inline bool in_array(const json_t *array, const char *text)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)array, i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), text) == 0)
            return true;
    }
    return false;
}

/* What the options come to; a test whose options are refused is over. */
static inline ms_limits limits(const moonsand_sandbox_options *o,
                               const moonsand_engine_facts *facts)
{
    ms_limits l;
    moonsand_error *err = NULL;
    if (ms_limits_resolve(&l, o, facts, &err)) {
        printf("Bail out! %s\n", moonsand_error_message(err));
        exit(1);
    }
    return l;
}

#endif
