/* Taken in by the assembler, as the agent is (agent_blob.c). */
#include "python_blob.h"

#ifndef MS_AGENT_SOURCE_DIR
#error "MS_AGENT_SOURCE_DIR must name the directory of the agent's sources"
#endif

__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        ".globl ms_python_blob\n"
        ".hidden ms_python_blob\n"
        ".type ms_python_blob, @object\n"
        "ms_python_blob:\n"
        ".incbin \"" MS_AGENT_SOURCE_DIR "/python/moonsand.py\"\n"
        "ms_python_blob_end:\n"
        ".size ms_python_blob, ms_python_blob_end - ms_python_blob\n"
        ".byte 0\n"
        ".balign 8\n"
        ".globl ms_python_blob_len\n"
        ".hidden ms_python_blob_len\n"
        ".type ms_python_blob_len, @object\n"
        ".size ms_python_blob_len, 8\n"
        "ms_python_blob_len:\n"
        ".quad ms_python_blob_end - ms_python_blob\n"
        ".popsection\n");

_Static_assert(sizeof(size_t) == 8, "ms_python_blob_len is written as 8 bytes");
