/* What to do about the errors of execve(2) that their own words do not tell: for every launcher. */
#ifndef REFUSALS_H
#define REFUSALS_H

#include <errno.h>
#include <stddef.h>

/* NULL where there is nothing to say. */
static inline const char *refusal_hint(int error)
{
    static const struct {
        int error;
        const char *hint;
    } HINTS[] = {
        {E2BIG, "the arguments and the environment together are too long"},
        {ENOTDIR, "a part of its path is a file"},
        {ELOOP, "its path goes round in a circle of symbolic links"},
        {ETXTBSY, "somebody is writing it: try again"},
        {ENAMETOOLONG, "give a shorter path"},
        {EPERM, "this host forbids to execute it"},
    };
    for (size_t i = 0; i < sizeof HINTS / sizeof *HINTS; i++)
        if (HINTS[i].error == error)
            return HINTS[i].hint;
    return NULL;
}

#endif
