/* The docker command's own files: config.json and the contexts. Layout: docker/cli,
 * cli/context/store. */
#ifndef MS_CONTEXT_H
#define MS_CONTEXT_H

#include "mem.h"
#include "moonsand.h"

/* What config.json and meta.json may have at most; real ones have a few KiB. */
#define MS_CONTEXT_FILE_MAX (1u << 20)

typedef struct ms_context {
    char *host; /* URL */
    bool skip_verify;
    char *tls_dir; /* with ca.pem, cert.pem, key.pem, or NULL when there is no such directory */
} ms_context;
void ms_context_free(ms_context *c);

/* currentContext of config_dir/config.json; *name is NULL when there is none or no such file. */
int ms_config_current(char **name, const char *config_dir, moonsand_error **err);
/* INVALID for a name that cannot be one; NOT_FOUND names the context. */
int ms_context_load(ms_context *out, const char *config_dir, const char *name,
                    moonsand_error **err);

/* The parsers alone; where is for messages. */
int ms_config_parse(char **name, const char *text, size_t len, const char *where,
                    moonsand_error **err);
int ms_context_parse(ms_context *out, const char *text, size_t len, const char *name,
                     const char *where, moonsand_error **err);

#endif
