/* The table of calls.def as values. */
#ifndef PATH_CALLS_H
#define PATH_CALLS_H

#include <stddef.h>
#include <stdint.h>

enum call_shape {
    CALL_ONE,      /* one path, which the host's replaces */
    CALL_TWO,      /* a second one in the arguments after the first's */
    CALL_SECOND,   /* the same as one: what stands before it is a link's text, not a path */
    CALL_OPEN,     /* whether it changes anything is in its flags */
    CALL_READLINK, /* what it returns is translated back */
    CALL_GETCWD,   /* the same */
    CALL_EXEC,     /* the program is started by the engine again */
    CALL_SOCKET,   /* the path is in a socket's address: unix(7) */
    CALL_MESSAGE,  /* in a message's header */
    CALL_ADDRESS,  /* in an address that is given back, whose length is the argument after it */
    CALL_RECEIVED, /* in the header of a message that is received */
    CALL_REFUSE,   /* EPERM */
};

enum call_traits {
    CALL_FOLLOWS = 1,
    CALL_KEEPS = 2,
    CALL_CHANGES = 4,
    CALL_REMOVES = 8,
    CALL_ASKS = 16,
    CALL_EMPTY = 32,
    CALL_NULLS = 64,
    CALL_NAMES = 128,
};

struct call {
    int16_t number;
    uint8_t shape;
    int8_t dirfd;
    int8_t path;
    int8_t flags;
    uint8_t traits;
    uint32_t bit;
};

extern const struct call call_table[];
extern const size_t call_count;

/* The table's entry, or NULL for a call that takes no path. */
const struct call *call_find(long number);

#endif
