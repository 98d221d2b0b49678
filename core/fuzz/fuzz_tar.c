/* Tar streams of engines and images: every entry is read, within bounds, whatever comes. */
#include <stdlib.h>
#include <string.h>

#include "moonsand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES 100
#define BYTES (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    moonsand_untar *u;
    moonsand_error *err = NULL;
    const moonsand_tar_entry *e = NULL;
    size_t entries = 0, bytes = 0;
    if (moonsand_untar_open(&u, data, size, ENTRIES, BYTES, &err) == 0) {
        while (moonsand_untar_next(u, &e, &err) == 0 && e != NULL) {
            if (e->path == NULL || e->path[0] == '\0' || e->mode > 07777 ||
                (e->data != NULL) != (e->type == MOONSAND_TAR_FILE) ||
                (e->target != NULL) !=
                    (e->type == MOONSAND_TAR_SYMLINK || e->type == MOONSAND_TAR_HARDLINK))
                abort();
            bytes += e->len;
            if (++entries > ENTRIES || bytes > BYTES)
                abort();
        }
        moonsand_untar_close(u);
    }
    for (const char *m = moonsand_error_message(err); *m != '\0'; m++)
        if ((unsigned char)*m < 0x20 || *m == 0x7f)
            abort();
    moonsand_error_free(err);
    return 0;
}
