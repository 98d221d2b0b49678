#include "context.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "error.h"
#include "file.h"
#include "json.h"

#define NAME_MAX_LEN 255

void ms_context_free(ms_context *c)
{
    ms_free(c->host);
    ms_free(c->tls_dir);
    memset(c, 0, sizeof *c);
}

static json_t *load(const char *text, size_t len, const char *where, moonsand_error **err)
{
    json_error_t why;
    /* The docker command lets the last of two equal keys win; we had better not guess. */
    json_t *root = json_loadb(text ? text : "", len, JSON_REJECT_DUPLICATES, &why);
    if (!root && json_error_code(&why) == json_error_out_of_memory) {
        ms_fail_nomem(err);
    } else if (!root) {
        char shown[JSON_ERROR_TEXT_LENGTH];
        ms_printable(shown, sizeof shown, why.text, strlen(why.text));
        ms_fail(err, MOONSAND_E_INVALID, "%s, line %d: not JSON: %s", where, why.line, shown);
    } else if (!json_is_object(root)) {
        ms_fail(err, MOONSAND_E_INVALID, "%s: not a JSON object", where);
        json_decref(root);
        root = NULL;
    }
    return root;
}

/* As docker/cli's restricted names, so that a name can neither be an option nor climb in a path. */
static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n < 2 || n > NAME_MAX_LEN || !isalnum((unsigned char)name[0]))
        return false;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p >= 0x80 || (!isalnum((unsigned char)*p) && !strchr("_.+-", *p)))
            return false;
    return true;
}

static int check_name(const char *name, moonsand_error **err)
{
    if (name_ok(name))
        return 0;
    char shown[128];
    ms_printable(shown, sizeof shown, name, strlen(name));
    return ms_fail(err, MOONSAND_E_INVALID,
                   "\"%s\" cannot be the name of a context (letters, digits and _.+- are allowed)",
                   shown);
}

int ms_config_parse(char **name, const char *text, size_t len, const char *where,
                    moonsand_error **err)
{
    *name = NULL;
    json_t *root = load(text, len, where, err);
    if (!root)
        return -1;
    int rc = 0;
    const json_t *current = json_object_get(root, "currentContext");
    if (json_is_string(current) && json_string_length(current) > 0) {
        rc = check_name(json_string_value(current), err);
        if (rc == 0) {
            *name = ms_strdup(json_string_value(current));
            rc = *name ? 0 : ms_fail_nomem(err);
        }
    } else if (current && !json_is_string(current) && !json_is_null(current)) {
        rc = ms_fail(err, MOONSAND_E_INVALID, "%s: currentContext is not a string", where);
    }
    json_decref(root);
    return rc;
}

static int parse_meta(ms_context *out, const json_t *root, const char *name, const char *where,
                      moonsand_error **err)
{
    const char *own = ms_json_str(root, "Name", name);
    const char *host = ms_json_str(root, "Endpoints.docker.Host", "");
    if (strcmp(own, name) != 0)
        return ms_fail(err, MOONSAND_E_INVALID, "%s belongs to another context than %s", where,
                       name);
    if (!*host)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "context %s has no Docker host (%s: Endpoints.docker.Host)", name, where);
    out->skip_verify = ms_json_bool(root, "Endpoints.docker.SkipTLSVerify");
    out->host = ms_strdup(host);
    return out->host ? 0 : ms_fail_nomem(err);
}

int ms_context_parse(ms_context *out, const char *text, size_t len, const char *name,
                     const char *where, moonsand_error **err)
{
    memset(out, 0, sizeof *out);
    json_t *root = load(text, len, where, err);
    if (!root)
        return -1;
    int rc = parse_meta(out, root, name, where, err);
    json_decref(root);
    return rc;
}

int ms_config_current(char **name, const char *config_dir, moonsand_error **err)
{
    *name = NULL;
    char *path = ms_asprintf("%s/config.json", config_dir);
    if (!path)
        return ms_fail_nomem(err);
    ms_buf text = {0};
    moonsand_error *why = NULL;
    int rc = ms_file_read(&text, path, MS_CONTEXT_FILE_MAX, &why);
    if (rc == 0)
        rc = ms_config_parse(name, text.data, text.len, path, err);
    else if (moonsand_error_code(why) == MOONSAND_E_NOT_FOUND)
        rc = 0;
    else
        /* To go on would mean another engine than the one that this file may have chosen. */
        rc = ms_fail(err, moonsand_error_code(why), "%s (DOCKER_CONTEXT=default goes without it)",
                     moonsand_error_message(why));
    moonsand_error_free(why);
    ms_buf_free(&text);
    ms_free(path);
    return rc;
}

static int load_meta(ms_context *out, const char *path, const char *name, moonsand_error **err)
{
    ms_buf text = {0};
    moonsand_error *why = NULL;
    int rc = ms_file_read(&text, path, MS_CONTEXT_FILE_MAX, &why);
    if (rc == 0)
        rc = ms_context_parse(out, text.data, text.len, name, path, err);
    else if (moonsand_error_code(why) == MOONSAND_E_NOT_FOUND)
        rc = ms_fail(err, MOONSAND_E_NOT_FOUND,
                     "context \"%s\" does not exist (%s is missing); see `docker context ls`", name,
                     path);
    else
        rc = ms_fail(err, moonsand_error_code(why), "context \"%s\": %s", name,
                     moonsand_error_message(why));
    moonsand_error_free(why);
    ms_buf_free(&text);
    return rc;
}

int ms_context_load(ms_context *out, const char *config_dir, const char *name, moonsand_error **err)
{
    memset(out, 0, sizeof *out);
    char hex[65];
    if (check_name(name, err) || moonsand_sha256(hex, name, strlen(name), err))
        return -1;
    char *meta = ms_asprintf("%s/contexts/meta/%s/meta.json", config_dir, hex);
    char *tls = ms_asprintf("%s/contexts/tls/%s/docker", config_dir, hex);
    int rc = meta && tls ? load_meta(out, meta, name, err) : ms_fail_nomem(err);
    struct stat st;
    if (rc == 0 && stat(tls, &st) == 0 && S_ISDIR(st.st_mode)) {
        out->tls_dir = tls;
        tls = NULL;
    }
    ms_free(meta);
    ms_free(tls);
    if (rc)
        ms_context_free(out);
    return rc;
}
