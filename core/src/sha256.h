/* SHA-256, by OpenSSL. */
#ifndef MS_SHA256_H
#define MS_SHA256_H

#include <openssl/evp.h>

#include "moonsand.h"

#define MS_SHA256_HEX 65 /* with the NUL */

/* Free with EVP_MD_CTX_free(). NULL: no memory. */
EVP_MD_CTX *ms_sha256_new(void);
/* All return 0, or -1 when OpenSSL fails (it has no memory). */
int ms_sha256_add(EVP_MD_CTX *c, const void *p, size_t n);
/* The context may not be used after it. */
int ms_sha256_hex(EVP_MD_CTX *c, char out[MS_SHA256_HEX]);

#endif
