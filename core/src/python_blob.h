/* The Python module that programs find inside, as text. */
#ifndef MS_PYTHON_BLOB_H
#define MS_PYTHON_BLOB_H

#include <stddef.h>

extern const char ms_python_blob[];
extern const size_t ms_python_blob_len;

#endif
