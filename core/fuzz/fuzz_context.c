/* Endpoint URLs, context files and config.json: the first byte says which, the rest is the text. */
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_url(const char *text, bool tls)
{
    ms_endpoint ep;
    moonsand_error *err = NULL;
    if (ms_url_parse(&ep, text, tls, &err) == 0) {
        if (!ep.url || err)
            abort();
        if (ep.kind == MS_UNIX && (ep.unix_path[0] != '/' || strlen(ep.unix_path) > 107))
            abort();
        if (ep.kind == MS_TCP && !strrchr(ep.host_port, ':'))
            abort();
        /* The word after "--" is the host; none of what came from the URL may look like an option
         * before it, nor may anything that a shell reads come after it. */
        size_t n = 0;
        for (char **arg = ep.ssh_argv; arg && *arg; arg++, n++)
            if (!**arg || strpbrk(*arg, "$`;|&<>()'\"\\ \t\n*?"))
                abort();
        if (ep.kind == MS_SSH && (n < 9 || n > 15))
            abort();
    } else if (!err || ep.url) {
        abort();
    }
    ms_endpoint_free(&ep);
    moonsand_error_free(err);
}

static void fuzz_context(const char *text, size_t len)
{
    ms_context c;
    moonsand_error *err = NULL;
    if (ms_context_parse(&c, text, len, "name", "meta.json", &err) == 0) {
        if (!c.host || !*c.host || err)
            abort();
        fuzz_url(c.host, c.skip_verify);
    } else if (!err) {
        abort();
    }
    ms_context_free(&c);
    moonsand_error_free(err);
}

static void fuzz_config(const char *text, size_t len)
{
    char *name = NULL;
    moonsand_error *err = NULL;
    if (ms_config_parse(&name, text, len, "config.json", &err) ? !err || name : err != NULL)
        abort();
    if (name && (strchr(name, '/') || name[0] == '-' || name[0] == '.'))
        abort();
    ms_free(name);
    moonsand_error_free(err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *text = ms_strndup((const char *)data + 1, size - 1);
    if (!text)
        return 0;
    if (data[0] == 'c')
        fuzz_context(text, size - 1);
    else if (data[0] == 'j')
        fuzz_config(text, size - 1);
    else
        fuzz_url(text, data[0] == 't');
    ms_free(text);
    return 0;
}
