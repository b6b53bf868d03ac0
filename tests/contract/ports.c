/* What a program of a container sees of its ports: `ports PORT` binds PORT in every way, and reaches itself there. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int port;

struct address {
    struct sockaddr_storage any;
    socklen_t size;
};

static struct address make(int family, const char *text)
{
    struct address address = {.size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)};
    struct sockaddr_in *four = (void *)&address.any;
    struct sockaddr_in6 *six = (void *)&address.any;
    address.any.ss_family = (sa_family_t)family;
    four->sin_port = htons((uint16_t)port); /* at the same place in both */
    inet_pton(family, text, family == AF_INET ? (void *)&four->sin_addr : (void *)&six->sin6_addr);
    return address;
}

static void tell(const char *what, const struct address *address)
{
    char text[64];
    const struct sockaddr_in *four = (const void *)&address->any;
    const struct sockaddr_in6 *six = (const void *)&address->any;
    const void *number = address->any.ss_family == AF_INET ? (const void *)&four->sin_addr : (const void *)&six->sin6_addr;
    inet_ntop(address->any.ss_family, number, text, sizeof text);
    printf("%s %s %d\n", what, text, ntohs(four->sin_port));
}

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static int bound(int family, int kind, const char *text)
{
    int file = socket(family, kind, 0), on = 1;
    struct address address = make(family, text);
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(file, (void *)&address.any, address.size) < 0)
        fail("bind");
    struct address told = {.size = sizeof told.any};
    getsockname(file, (void *)&told.any, &told.size);
    tell("bound", &told);
    return file;
}

static void stream(int family, const char *text, const char *local)
{
    int server = bound(family, SOCK_STREAM, text), client = socket(family, SOCK_STREAM, 0);
    struct address address = make(family, local), peer = {.size = sizeof peer.any}, own = {.size = sizeof own.any};
    if (listen(server, 1) < 0 || connect(client, (void *)&address.any, address.size) < 0)
        fail("connect");
    getpeername(client, (void *)&peer.any, &peer.size);
    tell("peer", &peer);
    int accepted = accept(server, NULL, NULL);
    getsockname(accepted, (void *)&own.any, &own.size);
    tell("accepted", &own);
    close(accepted), close(client), close(server);
}

static void datagrams(int family, const char *text, const char *local)
{
    int server = bound(family, SOCK_DGRAM, text), client = socket(family, SOCK_DGRAM, 0);
    struct address address = make(family, local), from = {.size = sizeof from.any};
    char byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_name = &address.any, .msg_namelen = address.size, .msg_iov = &part, .msg_iovlen = 1};
    if (sendto(client, "a", 1, 0, (void *)&address.any, address.size) != 1 || sendmsg(client, &message, 0) != 1)
        fail("send");
    recv(server, &byte, 1, 0);
    recvfrom(server, &byte, 1, 0, (void *)&from.any, &from.size);
    sendto(server, "b", 1, 0, (void *)&from.any, from.size);
    sendto(server, "c", 1, 0, (void *)&from.any, from.size);
    from.size = sizeof from.any;
    recvfrom(client, &byte, 1, 0, (void *)&from.any, &from.size);
    tell("answered", &from);
    message.msg_name = &from.any;
    message.msg_namelen = sizeof from.any;
    recvmsg(client, &message, 0);
    tell("answered", &from);
    close(client), close(server);
}

int main(int argc, char **argv)
{
    port = argc > 1 ? atoi(argv[1]) : 0;
    const char *kind = argc > 2 ? argv[2] : "";
    if (strcmp(kind, "wait") == 0) {
        int server = bound(AF_INET, SOCK_STREAM, "0.0.0.0");
        listen(server, 1);
        fflush(stdout);
        return accept(server, NULL, NULL) < 0;
    }
    stream(AF_INET, "0.0.0.0", "127.0.0.1");
    stream(AF_INET6, "::", "::1");
    datagrams(AF_INET, "127.0.0.1", "127.0.0.1");
    return 0;
}
