/* The engine's JSON replies and error bodies: parsed, read by path, written again, and made into an
 * error's message, which must be printable UTF-8 of bounded length whatever came. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(const moonsand_error *err)
{
    const char *m = moonsand_error_message(err);
    if (strlen(m) > 4096)
        abort();
    for (; *m; m++) {
        if ((unsigned char)*m < 0x20 || *m == 0x7f)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = {
        "Id",       "State.OOMKilled", "State.ExitCode", "Config.Env", "Config.Volumes",
        "Warnings", "SecurityOptions", "Components",     "a.b.c.d.e"};
    const char *text = (const char *)data;
    moonsand_error *err = NULL;
    json_t *v = ms_json_parse(text, size, "reply", &err);
    if (!v) {
        check_message(err);
        moonsand_error_free(err);
    } else {
        for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
            (void)ms_json_str(v, paths[i], "");
            (void)ms_json_int(v, paths[i], 0);
            (void)ms_json_bool(v, paths[i]);
        }
        ms_buf b = {0};
        if (ms_json_write(&b, v, true, NULL) || !b.data)
            abort();
        ms_buf_free(&b);
        json_decref(v);
    }
    for (int status = 400; status <= 500; status += 4) {
        err = NULL;
        if (ms_fail_http(&err, "container create", status, text, size) != -1)
            abort();
        check_message(err);
        moonsand_error_free(err);
    }
    return 0;
}
