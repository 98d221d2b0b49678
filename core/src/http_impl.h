/* What the files of http share: http.c (curl on the loop), http_call.c (requests with answers),
 * http_conn.c (bare connections), http_error.c. Only these know libcurl. */
#ifndef MS_HTTP_IMPL_H
#define MS_HTTP_IMPL_H

#include <curl/curl.h>

#include "dial.h"
#include "http.h"

/* What a call and a connection have in common: one easy handle on the multi handle. */
typedef struct ms_transfer ms_transfer;
struct ms_transfer {
    ms_transfer *prev, *next; /* in one of the rings of http */
    ms_http *http;
    CURL *easy;
    bool is_conn, on_multi, starved, busy;
    CURLcode result;
    moonsand_error *failure; /* what a callback of ours found, which says more than curl's code */
    int64_t start_ns, timeout_ns;
    ms_timer retry;
    char text[CURL_ERROR_SIZE];
};

struct ms_http {
    moonsand_loop *loop;
    ms_endpoint ep;
    CURLM *multi;
    ms_timer timer; /* curl's */
    ms_timer later; /* deliver() */
    struct sock *socks;
    ms_transfer active, fed, finished; /* fed: active, with a piece for on_data */
    ms_dial *dial;
    char *url;
    char *scratch;
    bool delivering, dead; /* dead: freed by a callback; deliver() frees the memory */
};

/* Makes the easy handle and sets what all have in common. After a failure ms_transfer_end(). */
int ms_transfer_init(ms_transfer *t, ms_http *h, int64_t timeout_ns, moonsand_error **err);
int ms_transfer_start(ms_transfer *t, moonsand_error **err);
/* Takes it off the multi handle; its easy handle can still be asked about the answer. */
void ms_transfer_take_off(ms_transfer *t);
void ms_transfer_end(ms_transfer *t);
moonsand_error *ms_transfer_error(ms_transfer *t); /* why it failed; owned by the caller */

void ms_ring_add(ms_transfer *head, ms_transfer *t);
void ms_ring_remove(ms_transfer *t);

/* Call the callback of a finished one, or of one that was fed; by http.c. */
void ms_call_deliver(ms_http_call *call);
void ms_call_hand_over(ms_http_call *call);
void ms_conn_deliver(ms_conn *conn);
/* When http is freed first. A connection keeps its memory, so that its owner can still free it. */
void ms_call_free(ms_http_call *call);
void ms_conn_orphan(ms_conn *conn);

/* No spaces and no control bytes. */
bool ms_http_plain(const char *s);

#define MS_SET(easy, option, value) (curl_easy_setopt(easy, CURLOPT_##option, value) == CURLE_OK)

#endif
