/* Where is an engine? Looks, in this order: explicit, DOCKER_CONTEXT, DOCKER_HOST, the config
 * file's currentContext, the well-known Docker and Podman sockets, a running embedded engine. Order
 * and files as the docker command: docker/cli, "Docker contexts". */
#ifndef MS_ENDPOINT_H
#define MS_ENDPOINT_H

#include "http.h"

/* explicit_url: see moonsand_engine_options.endpoint. getenv_fn lets tests give an environment;
 * NULL: getenv. NO_ENGINE lists every place that was looked at and says what to do; INVALID for a
 * URL that cannot be parsed; NOT_FOUND for a context that does not exist. A socket of the
 * well-known ones counts as found when it exists and can be connected to. */
int ms_endpoint_find(ms_endpoint *out, const char *explicit_url, const char *tls_dir,
                     const char *(*getenv_fn)(const char *name), moonsand_error **err);

#endif
