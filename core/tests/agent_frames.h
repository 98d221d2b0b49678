/* Frames and fields of the agent protocol, right or wrong, for tests. */
#ifndef AGENT_FRAMES_H
#define AGENT_FRAMES_H

#include <string.h>

#include "agent.h"

__attribute__((unused)) static void frame(ms_buf *b, int type, const void *payload, size_t len)
{
    unsigned char head[MS_PROTO_HEAD] = {(unsigned char)type};
    ms_put_u32(head + 4, (uint32_t)len);
    ms_buf_add(b, head, sizeof head);
    if (len > 0)
        ms_buf_add(b, payload, len);
}

__attribute__((unused)) static void bytes(ms_buf *b, int tag, const void *p, size_t len)
{
    unsigned char head[5] = {(unsigned char)tag};
    ms_put_u32(head + 1, (uint32_t)len);
    ms_buf_add(b, head, sizeof head);
    if (len > 0)
        ms_buf_add(b, p, len);
}

__attribute__((unused)) static void text(ms_buf *b, int tag, const char *s)
{
    bytes(b, tag, s, strlen(s));
}

__attribute__((unused)) static void number(ms_buf *b, int tag, uint64_t v)
{
    unsigned char p[8];
    ms_put_u64(p, v);
    bytes(b, tag, p, sizeof p);
}

/* Ends a frame whose fields are in f, which is emptied. */
__attribute__((unused)) static void fields(ms_buf *b, int type, ms_buf *f)
{
    frame(b, type, f->data, f->len);
    ms_buf_free(f);
}

__attribute__((unused)) static void hello(ms_buf *b)
{
    ms_buf f = {0};
    number(&f, MS_T_VERSION, MS_PROTO_VERSION);
    number(&f, MS_T_LANDLOCK, 7);
    fields(b, MS_F_HELLO, &f);
}

__attribute__((unused)) static void started(ms_buf *b)
{
    frame(b, MS_F_STARTED, NULL, 0);
}

__attribute__((unused)) static void artefact(ms_buf *b, const char *path)
{
    ms_buf f = {0};
    text(&f, MS_T_PATH, path);
    number(&f, MS_T_MODE, 0644);
    fields(b, MS_F_ARTEFACT, &f);
}

__attribute__((unused)) static void artefact_end(ms_buf *b, uint64_t size, const char *reason)
{
    ms_buf f = {0};
    number(&f, MS_T_SIZE, size);
    if (reason != NULL)
        text(&f, MS_T_REASON, reason);
    fields(b, MS_F_ARTEFACT_END, &f);
}

__attribute__((unused)) static void rejected(ms_buf *b, const char *path, const char *reason)
{
    ms_buf f = {0};
    text(&f, MS_T_PATH, path);
    text(&f, MS_T_REASON, reason);
    fields(b, MS_F_REJECTED, &f);
}

__attribute__((unused)) static void failed(ms_buf *b, const char *stage, uint64_t err,
                                           const char *message)
{
    ms_buf f = {0};
    text(&f, MS_T_STAGE, stage);
    number(&f, MS_T_ERRNO, err);
    text(&f, MS_T_MESSAGE, message);
    fields(b, MS_F_FAILED, &f);
}

/* A FINAL in which one field is another (tag 0: none) or missing (without). */
__attribute__((unused)) static void final_with(ms_buf *b, bool exit_code, int tag, uint64_t v,
                                               int without)
{
    static const int tags[] = {
        MS_T_WALL_NS,      MS_T_CPU_NS,     MS_T_KILLED,       MS_T_OOM_KILLS,    MS_T_MEMORY_PEAK,
        MS_T_PIDS_REFUSED, MS_T_STRAGGLERS, MS_T_STDOUT_BYTES, MS_T_STDERR_BYTES, MS_T_LANDLOCKED};
    ms_buf f = {0};
    bool done = false;
    if (exit_code && tag != MS_T_EXIT_CODE)
        number(&f, MS_T_EXIT_CODE, 5);
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (tags[i] == without)
            continue;
        uint64_t usual = tags[i] == MS_T_KILLED ? 0 : tags[i] == MS_T_LANDLOCKED ? 1 : 100;
        number(&f, tags[i], tags[i] == tag ? v : usual);
        done = done || tags[i] == tag;
    }
    if (tag != 0 && !done)
        number(&f, tag, v);
    fields(b, MS_F_FINAL, &f);
}

__attribute__((unused)) static void final(ms_buf *b)
{
    final_with(b, true, 0, 0, 0);
}

#endif
