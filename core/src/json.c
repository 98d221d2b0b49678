#include "json.h"

#include <string.h>

#include "error.h"

json_t *ms_json_parse(const char *text, size_t len, const char *what, moonsand_error **err)
{
    json_error_t why;
    json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (v)
        return v;
    if (json_error_code(&why) == json_error_out_of_memory)
        ms_fail_nomem(err);
    else
        ms_fail(err, MOONSAND_E_PROTOCOL, "%s: the engine's answer is not JSON (line %d: %s)", what,
                why.line, why.text);
    return NULL;
}

const json_t *ms_json_at(const json_t *root, const char *path)
{
    while (root && *path) {
        size_t n = strcspn(path, ".");
        char key[64];
        if (n >= sizeof key)
            return NULL;
        memcpy(key, path, n);
        key[n] = 0;
        root = json_object_get(root, key); /* NULL for what is not an object */
        path += n + (path[n] == '.');
    }
    return root;
}

const char *ms_json_str(const json_t *root, const char *path, const char *fallback)
{
    const char *s = json_string_value(ms_json_at(root, path));
    return s ? s : fallback;
}

int64_t ms_json_int(const json_t *root, const char *path, int64_t fallback)
{
    const json_t *v = ms_json_at(root, path);
    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool ms_json_bool(const json_t *root, const char *path)
{
    return json_is_true(ms_json_at(root, path));
}

struct sink {
    ms_buf *out;
    bool failed;
};

/* jansson 2.14 goes on after a failed write of a key: what comes then is not the JSON any more, so
 * the failure is remembered here. */
static int add(const char *p, size_t n, void *arg)
{
    struct sink *sink = arg;
    sink->failed = sink->failed || ms_buf_add(sink->out, p, n) != 0;
    return sink->failed ? -1 : 0;
}

int ms_json_write(ms_buf *out, const json_t *value, bool sorted, moonsand_error **err)
{
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | (sorted ? JSON_SORT_KEYS : 0);
    struct sink sink = {out, false};
    size_t before = out->len;
    if (value && json_dump_callback(value, add, &sink, flags) == 0 && !sink.failed)
        return 0;
    if (out->data)
        out->data[out->len = before] = '\0';
    return ms_fail_nomem(err);
}
