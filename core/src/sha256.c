#include "sha256.h"

#include "error.h"

EVP_MD_CTX *ms_sha256_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1)
        return c;
    EVP_MD_CTX_free(c);
    return NULL;
}

int ms_sha256_add(EVP_MD_CTX *c, const void *p, size_t n)
{
    return EVP_DigestUpdate(c, p, n) == 1 ? 0 : -1;
}

int ms_sha256_hex(EVP_MD_CTX *c, char out[MS_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_DigestFinal_ex(c, md, &len) != 1 || len != (MS_SHA256_HEX - 1) / 2)
        return -1;
    for (unsigned i = 0; i < len; i++) {
        out[2 * i] = digits[md[i] >> 4];
        out[2 * i + 1] = digits[md[i] & 15];
    }
    out[2 * len] = '\0';
    return 0;
}

int moonsand_sha256(char out[65], const void *data, size_t len, moonsand_error **err)
{
    EVP_MD_CTX *c = ms_sha256_new();
    int rc = c != NULL && ms_sha256_add(c, data, len) == 0 && ms_sha256_hex(c, out) == 0 ? 0 : -1;
    EVP_MD_CTX_free(c);
    return rc == 0 ? 0 : ms_fail_nomem(err);
}
