/* The headers of a program's file: elf(5). */
#ifndef HEADERS_H
#define HEADERS_H

#include <elf.h>

#include "trap.h"

#pragma GCC visibility push(hidden)

enum { LOAD_SCATTERED = -5003 /* the parts do not lie at the file's start */ };
enum { HEADERS_MAX = 64 };

struct file {
    int number;
    long start_size;
    const char *start; /* the first bytes, which hold all that is asked of most programs */
    bool i386;
    Elf64_Ehdr header;
    const Elf64_Phdr *parts;
    Elf64_Phdr *room; /* for HEADERS_MAX parts, if they lie elsewhere in the file */
};

/* Reads them; of a 32-bit program as if it were of 64 bits.  LOAD_SCATTERED where there has to be room. */
int headers_read(struct file *file);

#pragma GCC visibility pop

#endif
