/* Sockets that have a path for an address, unix(7), or a port that is published under another number. */

#include <errno.h>
#include <fcntl.h>

#include "address.h"

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

/* The host's directory of a view, and behind it the path as far as it lies below: so the kernel keeps a name
 * that answer.c can read again.  The number of slashes tells the view. */
static int address_by_view(struct address *address, const struct path_place *place)
{
    char *path = address->host.sun_path, digits[12];
    const struct path_view *view = NULL;
    size_t number = 0;
    for (size_t i = 0; i < engine.world.count; i++) {
        const struct path_view *one = &engine.world.views[i];
        if (one->host_length < place->length && place->host[one->host_length] == '/' &&
            bytes_equal(place->host, one->host, one->host_length) &&
            (!view || one->host_length > view->host_length)) {
            view = one;
            number = i;
        }
    }
    if (!view)
        return -ENAMETOOLONG;
    address->directory = sys_call4(SYS_openat, AT_FDCWD, view->host_length ? view->host : "/",
                                   O_PATH | O_CLOEXEC | O_DIRECTORY, 0);
    if (address->directory < 0)
        return (int)address->directory;
    size_t at = sizeof SOCKET_PREFIX - 1, below = place->length - view->host_length;
    size_t count = put_number(digits, address->directory);
    if (at + count + number + below > sizeof address->host.sun_path)
        return -ENAMETOOLONG;
    bytes_copy(path, SOCKET_PREFIX, at);
    bytes_copy(path + at, digits, count);
    at += count;
    while (number-- > 0)
        path[at++] = '/';
    bytes_copy(path + at, place->host + view->host_length, below);
    at += below;
    if (at < sizeof address->host.sun_path)
        path[at] = '\0';
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + at + (at < sizeof address->host.sun_path));
    return 0;
}

/* By a descriptor of its directory, as far as its own name is not too long; one that is there already by a
 * descriptor of its own. */
static int address_shorten(struct address *address, struct path_place *place, bool is_made)
{
    char *path = address->host.sun_path;
    size_t slash = place->length;
    while (is_made && slash > 0 && place->host[slash - 1] != '/')
        slash--;
    size_t name = place->length - slash;
    if (sizeof SOCKET_PREFIX + 12 + name > sizeof address->host.sun_path)
        return -ENAMETOOLONG;
    char first = place->host[slash];
    place->host[slash] = '\0';
    address->directory = sys_call4(SYS_openat, AT_FDCWD, place->host, O_PATH | O_CLOEXEC, 0);
    place->host[slash] = first;
    if (address->directory < 0)
        return (int)address->directory;
    size_t at = sizeof SOCKET_PREFIX - 1;
    bytes_copy(path, SOCKET_PREFIX, at);
    at += put_number(path + at, address->directory);
    if (is_made)
        path[at++] = '/';
    bytes_copy(path + at, place->host + slash, name);
    path[at + name] = '\0';
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + at + name + 1);
    return 0;
}

static int address_fit(struct address *address, struct path_place *place, bool is_made)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    if (place->length < sizeof address->host.sun_path) {
        bytes_copy(address->host.sun_path, place->host, place->length + 1);
        address->size = (socklen_t)(start + place->length + 1);
        return 0;
    }
    int result = is_made ? address_by_view(address, place) : -ENAMETOOLONG;
    if (result == -ENAMETOOLONG && address->directory >= 0)
        sys_call1(SYS_close, address->directory);
    return result == -ENAMETOOLONG ? address_shorten(address, place, is_made) : result;
}

/* Whether the path, relative to the working directory, leads to its own place: no link, and nothing bound over it. */
static bool is_relative_place(const char *path, const struct path_place *place)
{
    char host[PATH_SIZE];
    long size = sys_call2(SYS_getcwd, host, sizeof host); /* with its final NUL */
    return path_is_plain(&engine.world, path) && size > 2 && (size_t)size < place->length &&
           bytes_equal(place->host, host, (size_t)size - 1) && place->host[size - 1] == '/' &&
           bytes_equal(place->host + size, path, bytes_length(path) + 1);
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
    bool is_made = entry->traits & CALL_CHANGES;
    unsigned flags = entry->traits & CALL_FOLLOWS ? PATH_FOLLOW : 0;
    result = path_resolve(&engine.world, AT_FDCWD, path, flags, &place);
    if (result < 0)
        return result;
    if (is_made && !place.read_only && is_relative_place(path, &place)) {
        address->size = (socklen_t)size; /* the name that the kernel should keep */
        return 0;
    }
    return is_made && place.read_only ? -EROFS : address_fit(address, &place, is_made);
}

void address_close(struct address *address)
{
    if (address->directory >= 0)
        sys_call1(SYS_close, address->directory);
}

int socket_protocol(long file)
{
    int protocol = 0, size = sizeof protocol;
    if (engine.ports.count == 0)
        return 0;
    long result = sys_call5(SYS_getsockopt, file, SOL_SOCKET, SO_PROTOCOL, &protocol, &size);
    return result < 0 ? 0 : protocol;
}

/* Puts the host's port in an address of the internet: 0 where `address` is to be used, 1 where it needs none. */
static int address_publish(struct address *address, long file, const void *guest, size_t size, const struct call *entry)
{
    int protocol = guest && size <= sizeof address->host ? socket_protocol(file) : 0;
    if (protocol == 0)
        return 1;
    int result = user_read(&address->host, guest, size);
    enum port_use use = entry->traits & CALL_CHANGES ? PORT_BIND : PORT_REACH;
    if (result == 0)
        result = ports_to_host(&engine.ports, protocol, use, &address->host, size);
    address->size = (socklen_t)size;
    return result < 0 ? result : !result;
}

int address_take(struct address *address, long file, const void *guest, size_t size, const struct call *entry)
{
    int result = address_translate(address, guest, size, entry);
    return result == 1 ? address_publish(address, file, guest, size, entry) : result;
}

long socket_call(const struct call *entry, struct trapped *call)
{
    struct address address;
    long *a = call->arguments;
    int result = address_take(&address, a[0], (const void *)a[entry->path], (size_t)a[entry->path + 1], entry);
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
    int result = address_take(&address, file, message->msg_name, message->msg_namelen, entry);
    if (result < 0)
        return result;
    if (result == 0) {
        message->msg_name = &address.host;
        message->msg_namelen = address.size;
    }
    char control[CREDENTIALS_ROOM];
    long done = engine.root ? credentials_lend(message, control) : 0;
    if (done == 0)
        done = sys_call3(number, file, message, flags);
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
    const struct call *entry = call_find(call->number);
    const long *a = call->arguments;
    struct msghdr copy;
    if (call->number == SYS_sendmmsg)
        return messages_send(entry, a);
    int result = user_read(&copy, (const void *)a[1], sizeof copy);
    return result < 0 ? result : message_send(entry, SYS_sendmsg, a[0], &copy, a[2]);
}
