/* The fork server's shared object and its glue, taken in by the assembler, so that the agent stays
 * one file in the image. */
#include "inside.h"

#ifndef MS_FORK_LIBRARY
#error "MS_FORK_LIBRARY must name the shared object"
#endif

#define EMBED(name, file)                                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 16\n"                                                                         \
            ".hidden " #name "\n"                                                                  \
            ".globl " #name "\n" #name ":\n"                                                       \
            ".incbin \"" file "\"\n"                                                               \
            ".hidden " #name "_end\n"                                                              \
            ".globl " #name "_end\n" #name "_end:\n"                                               \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char name[] __attribute__((visibility("hidden")));                                \
    extern const char name##_end[] __attribute__((visibility("hidden")))

EMBED(embedded_so, MS_FORK_LIBRARY);
EMBED(embedded_python, MS_AGENT_SOURCE_DIR "/fork/forkserver.py");
EMBED(embedded_lua, MS_AGENT_SOURCE_DIR "/fork/forkserver.lua");

struct embedded embedded_library(void)
{
    return (struct embedded){embedded_so, (size_t)(embedded_so_end - embedded_so)};
}

const char *embedded_glue(bool python)
{
    return python ? embedded_python : embedded_lua;
}
