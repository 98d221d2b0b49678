/* The host's frames. */
#include <string.h>

#include "agent.h"

static int put_head(ms_buf *b, int type, size_t len)
{
    unsigned char head[MS_PROTO_HEAD] = {(unsigned char)type};
    ms_put_u32(head + 4, (uint32_t)len);
    return ms_buf_add(b, head, sizeof head);
}

static int put_field(ms_buf *b, int tag, const void *p, size_t len)
{
    unsigned char head[5] = {(unsigned char)tag};
    if (len > MS_PROTO_MAX)
        return -2;
    ms_put_u32(head + 1, (uint32_t)len);
    return ms_buf_add(b, head, sizeof head) < 0 || ms_buf_add(b, p, len) < 0 ? -1 : 0;
}

static int put_text(ms_buf *b, int tag, const char *text)
{
    return text != NULL ? put_field(b, tag, text, strlen(text)) : 0;
}

static int put_number(ms_buf *b, int tag, uint64_t v)
{
    unsigned char bytes[8];
    ms_put_u64(bytes, v);
    return put_field(b, tag, bytes, sizeof bytes);
}

static int put_strings(ms_buf *b, int tag, const char *const *list, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = put_text(b, tag, list[i]);
    return r;
}

/* The frame that begins at `start` ends here: its length is known now. A frame that went wrong is
 * taken back, so that the buffer always holds whole frames. */
static int frame_end(ms_buf *b, size_t start, int result)
{
    size_t len = b->len - start;
    if (result == 0 && len - MS_PROTO_HEAD > MS_PROTO_MAX)
        result = -2;
    if (result == 0)
        ms_put_u32((unsigned char *)b->data + start + 4, (uint32_t)(len - MS_PROTO_HEAD));
    else if (b->data != NULL)
        b->data[b->len = start] = '\0';
    return result;
}

int ms_agent_put_request(ms_buf *b, const ms_agent_request *r)
{
    const struct {
        int tag;
        uint64_t v;
    } numbers[] = {
        {MS_T_WALL_LIMIT_NS, r->wall_limit_ns},
        {MS_T_STDOUT_MAX, r->stdout_max},
        {MS_T_STDERR_MAX, r->stderr_max},
        {MS_T_ARTEFACT_COUNT_MAX, r->artefact_count_max},
        {MS_T_ARTEFACT_BYTES_MAX, r->artefact_bytes_max},
        {MS_T_VALUE_MAX, r->value_max},
        {MS_T_FLAGS, r->flags},
        {MS_T_FSIZE, r->fsize},
    };
    size_t start = b->len;
    int result = put_head(b, MS_F_REQUEST, 0);
    if (result == 0)
        result = put_strings(b, MS_T_ARGV, r->argv, r->argc);
    if (result == 0)
        result = put_strings(b, MS_T_ENV, r->env, r->envc);
    if (result == 0)
        result = put_text(b, MS_T_CWD, r->cwd);
    if (result == 0)
        result = put_text(b, MS_T_OUTPUT_DIR, r->output_dir);
    if (result == 0)
        result = put_text(b, MS_T_VALUE_FILE, r->value_file);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && result == 0; i++)
        result = put_number(b, numbers[i].tag, numbers[i].v);
    return frame_end(b, start, result);
}

int ms_agent_put_server(ms_buf *b, const ms_agent_server *s)
{
    const struct {
        int tag;
        uint64_t v;
    } numbers[] = {
        {MS_T_TIER_LOWEST, s->tier_lowest},
        {MS_T_TMP_BYTES, s->tmp_bytes},
        {MS_T_TMP_INODES, s->tmp_inodes},
        {MS_T_SHM_BYTES, s->shm_bytes},
        {MS_T_NET_SHARED, s->net_shared},
        {MS_T_TMP_EXEC, s->tmp_exec},
        {MS_T_FSIZE, s->fsize},
    };
    size_t start = b->len;
    int result = put_head(b, MS_F_SERVER, 0);
    if (result == 0)
        result = put_text(b, MS_T_LANGUAGE, s->language);
    if (result == 0)
        result = put_text(b, MS_T_ARGV, s->interpreter);
    if (result == 0)
        result = put_strings(b, MS_T_ENV, s->env, s->envc);
    if (result == 0)
        result = put_strings(b, MS_T_PRELOAD, s->preload, s->preload_count);
    if (result == 0)
        result = put_text(b, MS_T_PRELOAD_SCRIPT, s->preload_script);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && result == 0; i++)
        result = put_number(b, numbers[i].tag, numbers[i].v);
    return frame_end(b, start, result);
}

int ms_agent_put_file(ms_buf *b, const char *path, uint32_t mode, const void *data, size_t len)
{
    size_t start = b->len;
    int result = put_head(b, MS_F_FILE, 0);
    if (result == 0)
        result = put_text(b, MS_T_PATH, path);
    if (result == 0)
        result = put_number(b, MS_T_MODE, mode);
    if (result == 0)
        result = put_number(b, MS_T_SIZE, len);
    result = frame_end(b, start, result);
    if (result == 0 && len > 0)
        result = ms_agent_put(b, MS_F_FILE_DATA, data, len);
    return result == 0 ? 0 : frame_end(b, start, result);
}

int ms_agent_put(ms_buf *b, int type, const void *payload, size_t len)
{
    const char *p = payload;
    size_t start = b->len, most = MS_PROTO_MAX;
    if (type == MS_F_STDIN)
        most = MS_PROTO_STDIN_CREDIT;
    else if (type != MS_F_FILE_DATA && len > most)
        return -2;
    do {
        size_t part = len < most ? len : most;
        if (put_head(b, type, part) < 0 || ms_buf_add(b, p, part) < 0)
            return frame_end(b, start, -1);
        if (part > 0)
            p += part;
        len -= part;
    } while (len > 0);
    return 0;
}
