/* Calls of the table that i386 has under another name, or not at all. */
#ifndef GUEST_NUMBERS_H
#define GUEST_NUMBERS_H

#include <sys/syscall.h>

#ifdef __i386__
#define SYS_newfstatat SYS_fstatat64
#define SYS_accept 511 /* there is none, and nothing is asked of it */
#endif

#endif
