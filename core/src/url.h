/* Endpoint URLs, taken apart without any look at the machine. */
#ifndef MS_URL_H
#define MS_URL_H

#include "http.h"

/* Fills in url, kind and what belongs to the kind; found_by and the TLS files are left alone. An
 * absolute path is a unix socket. tls says what tcp:// means: it gives the default port. INVALID
 * with what to write instead; *out is then empty. */
int ms_url_parse(ms_endpoint *out, const char *url, bool tls, moonsand_error **err);

#endif
