/* The archive that goes into an image: what is in it, and that equal input gives equal bytes. */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>

#include "python_blob.h"
#include "spec.h"
#include "tap.h"

static void entry(struct archive *a, const char *path, unsigned type, unsigned mode,
                  const char *data, size_t len)
{
    struct archive_entry *e;
    if (archive_read_next_header(a, &e) != ARCHIVE_OK) {
        ok(false, "%s is missing", path);
        return;
    }
    is_str(archive_entry_pathname(e), path, "name");
    is_int(archive_entry_filetype(e), type, "%s: type", path);
    is_int(archive_entry_perm(e), mode, "%s: mode", path);
    is_int(archive_entry_uid(e), 0, "%s: owner", path);
    is_int(archive_entry_gid(e), 0, "%s: group", path);
    is_int(archive_entry_mtime(e), 1, "%s: time", path);
    static char got[65536];
    la_ssize_t n = type == AE_IFREG ? archive_read_data(a, got, sizeof got) : 0;
    ok(n == (la_ssize_t)len && memcmp(got, data, len) == 0, "%s: contents", path);
}

int main(void)
{
    char agent[5000];
    for (size_t i = 0; i < sizeof agent; i++)
        agent[i] = (char)(i * 7);
    ms_buf one = {0}, two = {0};
    is_int(ms_archive_agent(&one, agent, sizeof agent, NULL), 0, "archive");
    is_int(ms_archive_agent(&two, agent, sizeof agent, NULL), 0, "again");
    ok(one.len == two.len && memcmp(one.data, two.data, one.len) == 0, "the same bytes");
    ok(one.len % 512 == 0 && one.len < sizeof agent + ms_python_blob_len + 8192, "%zu bytes",
       one.len);
    struct archive *a = archive_read_new();
    static const char hosts[] = "127.0.0.1 localhost\n::1 localhost\n";
    if (a && archive_read_support_format_tar(a) == ARCHIVE_OK &&
        archive_read_open_memory(a, one.data, one.len) == ARCHIVE_OK) {
        struct archive_entry *e;
        entry(a, ".moonsand/", AE_IFDIR, 0755, "", 0);
        entry(a, ".moonsand/agent", AE_IFREG, 0555, agent, sizeof agent);
        entry(a, ".moonsand/python/", AE_IFDIR, 0755, "", 0);
        entry(a, ".moonsand/python/moonsand.py", AE_IFREG, 0444, ms_python_blob,
              ms_python_blob_len);
        entry(a, "etc/hosts", AE_IFREG, 0644, hosts, sizeof hosts - 1);
        is_int(archive_read_next_header(a, &e), ARCHIVE_EOF, "and no more");
    }
    archive_read_free(a);
    /* What was in the buffer stays. */
    two.len = 3;
    is_int(ms_archive_agent(&two, "", 0, NULL), 0, "an empty agent");
    ok(two.len > 512 && memcmp(two.data, one.data, 3) == 0, "is added");
    ms_buf_free(&one);
    ms_buf_free(&two);
    return done_testing();
}
