/* Ports of a container that the host has under other numbers: what udocker run --publish asks for.
 *
 * The network is the host's.  A program that binds a published port binds the host's in its place; whoever asks
 * for a local address is told the container's number, and so a program that connects to one of the container's
 * own ports.  Nothing here knows how calls are intercepted.
 */
#ifndef NET_PORTS_H
#define NET_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PORTS_MOST = 32, PORTS_TEXT = 64 * PORTS_MOST };

/* The container's ports from `first` to `last` are the host's from `host` on. */
struct port_map {
    uint8_t protocol; /* as socket(2) has it: IPPROTO_TCP */
    uint16_t first, last, host;
    bool at;             /* at one address of the host, else at those that the program binds */
    uint8_t address[16]; /* of IPv6, or IPv4's mapped into it: ipv6(7) */
};

struct ports {
    struct port_map maps[PORTS_MOST];
    size_t count;
    char text[PORTS_TEXT]; /* as ports_read takes it */
};

/* Takes a list of PROTOCOL/FIRST-LAST/HOST/ADDRESS, numbers and 32 hexadecimal digits or none, separated by commas.
 * -EINVAL, -E2BIG. */
int ports_read(struct ports *ports, const char *text);

enum port_use { PORT_BIND, PORT_REACH };

/* Puts the host's port into an address of `size` bytes that a program binds, or wants to reach: 1 where that changed
 * it.  -EADDRNOTAVAIL for a socket that cannot have the host's address. */
int ports_to_host(const struct ports *ports, int protocol, enum port_use use, void *address, size_t size);

/* Puts the container's port into an address that the kernel tells; `own` for a socket's own, else only local ones. */
void ports_to_guest(const struct ports *ports, int protocol, bool own, void *address, size_t size);

#endif
