/* The links of /proc whose text is no path to be walked (proc(5)). */
#ifndef PATH_PROC_H
#define PATH_PROC_H

#include <stddef.h>

enum proc_link {
    PROC_NONE,   /* not below a process's directory: links there, if any, are ordinary */
    PROC_EXE,    /* the calling process's own program */
    PROC_ROOT,   /* a process's root */
    PROC_OWN,    /* any other entry of the calling process: what it leads to is in its hands already */
    PROC_OTHER,  /* the same of another process; the kernel follows both to an object rather than to a name */
};

/* What `host`, an absolute host path without links but perhaps its last component, is. */
enum proc_link proc_link_kind(const char *host);

/* Writes the link of a descriptor of the calling process, "/proc/self/fd/N"; its length, below PROC_FILE_SIZE. */
enum { PROC_FILE_SIZE = 32 };
size_t proc_file(char *path, long file);

#endif
