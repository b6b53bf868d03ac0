/* Sockets that have a path for an address: unix(7). */

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "trap.h"

/* An address translated; a path that does not fit is named through its directory's descriptor. */
struct address {
    struct sockaddr_un host;
    socklen_t size;
    long directory; /* or the socket itself; -1 for none; closed after the call */
};

static size_t put_number(char *text, long number)
{
    char digits[20];
    size_t count = 0, length = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count > 0)
        text[length++] = digits[--count];
    return length;
}

/* A socket that is there already is named by a descriptor of its own. */
static int address_of_socket(struct address *address, const struct path_place *place)
{
    static const char prefix[] = "/proc/self/fd/";
    char *path = address->host.sun_path;
    size_t at = sizeof prefix - 1;
    address->directory = sys_call4(SYS_openat, AT_FDCWD, place->host, O_PATH | O_CLOEXEC, 0);
    if (address->directory < 0)
        return (int)address->directory;
    bytes_copy(path, prefix, at);
    at += put_number(path + at, address->directory);
    path[at] = '\0';
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + at + 1);
    return 0;
}

/* One that is to be made, by a descriptor of its directory, as far as its own name is not too long. */
static int address_shorten(struct address *address, struct path_place *place)
{
    static const char prefix[] = "/proc/self/fd/";
    char *path = address->host.sun_path;
    size_t slash = place->length;
    while (slash > 0 && place->host[slash - 1] != '/')
        slash--;
    size_t name = place->length - slash;
    if (slash == 0 || sizeof prefix + 12 + name > sizeof address->host.sun_path)
        return -ENAMETOOLONG;
    char *last = place->host + slash;
    char first = *last;
    *last = '\0';
    address->directory = sys_call4(SYS_openat, AT_FDCWD, place->host, O_PATH | O_CLOEXEC | O_DIRECTORY, 0);
    *last = first;
    if (address->directory < 0)
        return (int)address->directory;
    size_t at = sizeof prefix - 1;
    bytes_copy(path, prefix, at);
    at += put_number(path + at, address->directory);
    path[at++] = '/';
    bytes_copy(path + at, last, name + 1);
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + at + name + 1);
    return 0;
}

/* 1 where the address holds no path: then it is the kernel's affair, wrong or right. */
static int address_translate(struct address *address, const void *guest, size_t size, const struct call *entry)
{
    struct path_place place;
    size_t start = offsetof(struct sockaddr_un, sun_path);
    char path[sizeof address->host.sun_path + 1] = {0};
    address->directory = -1;
    if (!guest || size <= start || size > sizeof address->host)
        return 1;
    int result = user_read(&address->host, guest, size);
    if (result < 0)
        return result;
    if (address->host.sun_family != AF_UNIX || address->host.sun_path[0] == '\0')
        return 1;
    bytes_copy(path, address->host.sun_path, size - start);
    unsigned flags = entry->traits & CALL_FOLLOWS ? PATH_FOLLOW : 0;
    result = path_resolve(&engine.world, AT_FDCWD, path, flags, &place);
    if (result < 0)
        return result;
    if ((entry->traits & CALL_CHANGES) && place.read_only)
        return -EROFS;
    if (place.length >= sizeof address->host.sun_path)
        return entry->traits & CALL_CHANGES ? address_shorten(address, &place) : address_of_socket(address, &place);
    bytes_copy(address->host.sun_path, place.host, place.length + 1);
    address->size = (socklen_t)(start + place.length + 1);
    return 0;
}

static void address_close(struct address *address)
{
    if (address->directory >= 0)
        sys_call1(SYS_close, address->directory);
}

long socket_call(const struct call *entry, struct trapped *call)
{
    struct address address;
    long *a = call->arguments;
    int result = address_translate(&address, (const void *)a[entry->path], (size_t)a[entry->path + 1], entry);
    if (result < 0)
        return result;
    if (result == 0) {
        a[entry->path] = (long)&address.host;
        a[entry->path + 1] = address.size;
    }
    long done = sys_call6(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    address_close(&address);
    return done;
}

static long message_send(const struct call *entry, long number, long file, struct msghdr *message, long flags)
{
    struct address address;
    int result = address_translate(&address, message->msg_name, message->msg_namelen, entry);
    if (result < 0)
        return result;
    if (result == 0) {
        message->msg_name = &address.host;
        message->msg_namelen = address.size;
    }
    long done = sys_call3(number, file, message, flags);
    address_close(&address);
    return done;
}

/* sendmmsg(2), one message after the other as the kernel does; what was sent before an error counts. */
static long messages_send(const struct call *entry, const long *a)
{
    struct mmsghdr *messages = (struct mmsghdr *)a[1];
    for (long i = 0; i < a[2]; i++) {
        struct msghdr copy;
        int result = user_read(&copy, &messages[i].msg_hdr, sizeof copy);
        long sent = result < 0 ? result : message_send(entry, SYS_sendmsg, a[0], &copy, a[3]);
        unsigned count = (unsigned)sent;
        if (sent >= 0)
            sent = user_write(&messages[i].msg_len, &count, sizeof count);
        if (sent < 0)
            return i > 0 ? i : sent;
    }
    return a[2];
}

long message_call(struct trapped *call)
{
    const struct call *entry = &call_table[engine.calls[call->number] - 1];
    const long *a = call->arguments;
    struct msghdr copy;
    if (call->number == SYS_sendmmsg)
        return messages_send(entry, a);
    int result = user_read(&copy, (const void *)a[1], sizeof copy);
    return result < 0 ? result : message_send(entry, SYS_sendmsg, a[0], &copy, a[2]);
}
