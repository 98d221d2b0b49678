/* The agent built with this library, as bytes. */
#ifndef MS_AGENT_BLOB_H
#define MS_AGENT_BLOB_H

#include <stddef.h>

extern const unsigned char ms_agent_blob[];
extern const size_t ms_agent_blob_len;

#endif
