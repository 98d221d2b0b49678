/* Reading the engine's JSON without trusting its shape: a missing or wrong-typed value is a
 * default. */
#ifndef MS_JSON_H
#define MS_JSON_H

#include <jansson.h>

#include "mem.h"
#include "moonsand.h"

/* Parses a whole answer. PROTOCOL with what was being read when it is not JSON. Free with
 * json_decref(). */
json_t *ms_json_parse(const char *text, size_t len, const char *what, moonsand_error **err);
/* "a.b.c" below root. */
const json_t *ms_json_at(const json_t *root, const char *path);
const char *ms_json_str(const json_t *root, const char *path, const char *fallback);
int64_t ms_json_int(const json_t *root, const char *path, int64_t fallback);
bool ms_json_bool(const json_t *root, const char *path);
/* Compact, keys in the order of insertion, or sorted. Adds all of it to out, or nothing. */
int ms_json_write(ms_buf *out, const json_t *value, bool sorted, moonsand_error **err);

#endif
