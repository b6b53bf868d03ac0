/* The host's place of a guest's path that is not long, in few calls of the kernel: shortcut.c. */
#ifndef QUICK_H
#define QUICK_H

#include "trap.h"

#pragma GCC visibility push(hidden)

enum { QUICK_SHORT = 512, QUICK_TEXT = 128, QUICK_TOO_LONG = 1 };

/* A link at the end of a path: where it is on the host, and what it says.  `count` is how many there were. */
struct quick_link {
    int count;
    char host[2 * QUICK_SHORT];
    char text[QUICK_TEXT];
};

/* Holds what was found of a loader: loader_find. */
struct loader_room {
    struct path_place place;
    struct quick_link link;
};

struct quick {
    int dirfd;
    bool follow;
    bool slash; /* the path ends with one */
    bool read_only;
    size_t length;
    struct quick_link *link; /* gets a link at the end; NULL where nobody asks for it */
    char guest[QUICK_SHORT]; /* absolute: without ".", ".." and needless slashes */
    char host[2 * QUICK_SHORT];
};

/* Opens without a link on the way: -ELOOP where there is one. */
long quick_open(int dirfd, const char *path, uint64_t flags, uint64_t mode);
/* Takes the guest's text: 0, QUICK_TOO_LONG or -EFAULT. */
int quick_text(struct quick *quick, const char *address);
/* Tries `attempt` on the host's path of an absolute one, over the links that it meets.  An attempt returns whether what
 * it made of the path stands; after -ELOOP a link is followed.  False where the walk has to do it. */
typedef bool quick_attempt(const struct quick *quick, const void *context, long *result);
bool quick_absolute(struct quick *quick, quick_attempt *attempt, const void *context, long *result);

#pragma GCC visibility pop

#endif
