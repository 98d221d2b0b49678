/* The self-check's reading of what the agent saw. The first byte chooses what was asked for; then
 * come items, each begun by a line "=name". Whatever the bytes are, it ends in a verdict; and what
 * passed must no longer pass when one more mount or device stands in it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const volume = "/data";
static moonsand_bind refs = {"/srv/refs", "/refs"};

/* Adds every item; `more` goes to the end of the item `to`. */
static int verify(const char *text, size_t len, uint8_t flags, const char *to, const char *more)
{
    ms_limits l = {.nano_cpus = 500000000,
                   .memory_bytes = 512 << 20,
                   .disk_bytes = 64 << 20,
                   .shm_bytes = 16 << 20,
                   .pids = 128,
                   .disk_inodes = 8192,
                   .open_files = 512,
                   .binds = &refs,
                   .bind_count = flags & 1,
                   .exec_tmp = flags & 2};
    ms_container c = {
        .limits = &l, .uid = 2000001, .volumes = &volume, .volume_count = flags >> 2 & 1};
    moonsand_engine_facts facts = {.kind = flags & 8 ? "podman" : "docker",
                                   .cgroup_version = flags & 16 ? 2 : 1,
                                   .rootless = flags & 32};
    ms_probe *p;
    if (ms_probe_new(&p, NULL))
        return -1;
    const char *end = text + len;
    while (text < end && *text == '=') {
        const char *line = memchr(text, '\n', (size_t)(end - text));
        char name[32] = "";
        if (!line || (size_t)(line - text) > sizeof name)
            break;
        memcpy(name, text + 1, (size_t)(line - text) - 1);
        text = line + 1;
        const char *next = text;
        while (next < end && *next != '=') {
            line = memchr(next, '\n', (size_t)(end - next));
            next = line ? line + 1 : end;
        }
        ms_buf b = {0};
        if (ms_buf_add(&b, text, (size_t)(next - text)) == 0 &&
            (strcmp(name, to) != 0 || ms_buf_adds(&b, more) == 0))
            (void)ms_probe_add(p, name, b.data, b.len, NULL);
        ms_buf_free(&b);
        text = next;
    }
    moonsand_error *err = NULL;
    int rc = ms_probe_verify(p, &c, &facts, &err);
    if (rc && (moonsand_error_code(err) != MOONSAND_E_ISOLATION || !*moonsand_error_message(err)))
        abort();
    moonsand_error_free(err);
    ms_probe_free(p);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *text = (const char *)data + 1;
    if (verify(text, size - 1, data[0], "", ""))
        return 0;
    if (verify(text, size - 1, data[0], "mounts", "\n1 1 8:1 / /x rw - ext4 /dev/sda rw\n") == 0 ||
        verify(text, size - 1, data[0], "mounts", "\n1 1 8:1 /s /x ro - tmpfs tmpfs rw\n") == 0 ||
        verify(text, size - 1, data[0], "net", "\n eth0: 0 0\n") == 0 ||
        verify(text, size - 1, data[0], "masked", "\n/proc/kcore readable\n") == 0)
        abort();
    return 0;
}
