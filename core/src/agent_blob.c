/* The agent's bytes, taken in by the assembler: no generated source, no copy of 800 kB in hex. */
#include "agent_blob.h"

#ifndef MS_AGENT_PATH
#error "MS_AGENT_PATH must name the agent's binary"
#endif

__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        ".globl ms_agent_blob\n"
        ".hidden ms_agent_blob\n"
        ".type ms_agent_blob, @object\n"
        "ms_agent_blob:\n"
        ".incbin \"" MS_AGENT_PATH "\"\n"
        "ms_agent_blob_end:\n"
        ".size ms_agent_blob, ms_agent_blob_end - ms_agent_blob\n"
        ".byte 0\n"
        ".balign 8\n"
        ".globl ms_agent_blob_len\n"
        ".hidden ms_agent_blob_len\n"
        ".type ms_agent_blob_len, @object\n"
        ".size ms_agent_blob_len, 8\n"
        "ms_agent_blob_len:\n"
        ".quad ms_agent_blob_end - ms_agent_blob\n"
        ".popsection\n");

_Static_assert(sizeof(size_t) == 8, "ms_agent_blob_len is written as 8 bytes");
