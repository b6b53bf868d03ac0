/* Addresses of sockets on their way to the host (socket.c) and back (answer.c). */
#ifndef TRAP_ADDRESS_H
#define TRAP_ADDRESS_H

#include <sys/socket.h>
#include <sys/un.h>

#include "trap.h"

/* An address translated; a path that does not fit is named through its directory's descriptor. */
struct address {
    struct sockaddr_un host;
    socklen_t size;
    long directory; /* or the socket itself; -1 for none; closed after the call */
};

struct answer {
    union {
        struct sockaddr_un path;
        struct sockaddr_storage any;
    } address;
    int size;
};

#pragma GCC visibility push(hidden)

/* For a call on a socket: 0 where `address` is to be used, 1 where the guest's own is. */
int address_take(struct address *address, long file, const void *guest, size_t size, const struct call *entry);
void address_close(struct address *address);

/* `own`: the address is the socket's, not its peer's. */
void answer_show(struct answer *answer, long file, bool own);
/* As move_addr_to_user does: what fits, and the whole length. */
int answer_give(const struct answer *answer, void *address, int room, int *size);
/* An address that the kernel has put into the guest's memory. */
bool answer_mend(long file, void *address, int size, int *size_place);

#pragma GCC visibility pop

#endif
