/* What curl says, in our words and codes. */
#include <string.h>

#include "error.h"
#include "http_impl.h"

static moonsand_code code_of(CURLcode c)
{
    switch (c) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
        return MOONSAND_E_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return MOONSAND_E_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        return MOONSAND_E_NOMEM;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 */
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WRITE_ERROR:
        return MOONSAND_E_PROTOCOL;
    default:
        return MOONSAND_E_IO;
    }
}

static const char *advice(const ms_transfer *t, moonsand_code code)
{
    if (code != MOONSAND_E_CONNECT)
        return "";
    if (t->result == CURLE_COULDNT_CONNECT || t->result == CURLE_COULDNT_RESOLVE_HOST)
        return "; check that the engine listens there";
    return "; check ca.pem, cert.pem and key.pem of the TLS directory";
}

moonsand_error *ms_transfer_error(ms_transfer *t)
{
    moonsand_error *err = t->failure;
    t->failure = NULL;
    if (err != NULL)
        return err;
    const char *url = t->http->ep.url;
    moonsand_code code = code_of(t->result);
    const char *note = t->http->ep.kind == MS_SSH ? ms_dial_note(t->http->dial) : "";
    char text[CURL_ERROR_SIZE];
    if (t->text[0] == '\0')
        ms_printable(text, sizeof(text), curl_easy_strerror(t->result),
                     strlen(curl_easy_strerror(t->result)));
    else
        ms_printable(text, sizeof(text), t->text, strlen(t->text));
    if (code == MOONSAND_E_NOMEM)
        ms_fail_nomem(&err);
    else if (t->busy)
        ms_fail(&err, MOONSAND_E_CONNECT, "%s: the engine is too busy to take a connection", url);
    else if (code == MOONSAND_E_TIMEOUT)
        ms_fail(&err, code, "%s: the engine did not answer within %.3g s", url,
                (double)t->timeout_ns / (double)MS_S);
    else if (code == MOONSAND_E_IO && note[0] != '\0')
        ms_fail(&err, MOONSAND_E_CONNECT, "%s: %s (%s)", url, note, text);
    else
        ms_fail(&err, code, "%s: %s%s", url, text, advice(t, code));
    return err;
}
