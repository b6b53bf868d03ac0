/* Addresses that the kernel gives back: a socket's path is the host's, and becomes the container's again, as does a
 * port that is published under another number.
 *
 * What the container does not see keeps the host's name.
 */

#include <errno.h>

#include "address.h"

enum { PATH_START = offsetof(struct sockaddr_un, sun_path), PATH_MOST = sizeof((struct sockaddr_un *)0)->sun_path };

/* Reads what socket.c made of a path that did not fit: the view's number in slashes, the path below it. */
static int path_below_view(const char *text, char host[PATH_SIZE])
{
    size_t prefix = sizeof SOCKET_PREFIX - 1, view = 0;
    if (bytes_length(text) <= prefix || !bytes_equal(text, SOCKET_PREFIX, prefix))
        return -ENOENT;
    text += prefix;
    while (*text >= '0' && *text <= '9')
        text++;
    for (; text[0] == '/' && text[1] == '/'; text++)
        view++;
    if (*text != '/' || view >= engine.world.count)
        return -ENOENT;
    size_t length = engine.world.views[view].host_length;
    if (length + bytes_length(text) >= PATH_SIZE)
        return -ENAMETOOLONG;
    bytes_copy(host, engine.world.views[view].host, length);
    bytes_copy(host + length, text, bytes_length(text) + 1);
    return 0;
}

static void answer_translate(struct answer *answer)
{
    char text[PATH_MOST + 1] = {0}, host[PATH_SIZE], guest[PATH_SIZE];
    struct sockaddr_un *address = &answer->address.path;
    if (answer->size <= PATH_START || answer->size > PATH_START + PATH_MOST + 1 || address->sun_family != AF_UNIX ||
        address->sun_path[0] != '/')
        return;
    size_t size = (size_t)(answer->size - PATH_START);
    bytes_copy(text, address->sun_path, size < PATH_MOST ? size : PATH_MOST);
    int length = path_to_guest(&engine.world, path_below_view(text, host) == 0 ? host : text, guest);
    if (length <= 0 || length > PATH_MOST)
        return;
    bytes_copy(address->sun_path, guest, (size_t)length);
    /* The kernel counts the final NUL, where there is room for one. */
    if (length < PATH_MOST)
        address->sun_path[length] = '\0';
    answer->size = PATH_START + length + 1;
}

void answer_show(struct answer *answer, long file, bool own)
{
    answer_translate(answer);
    ports_to_guest(&engine.ports, socket_protocol(file), own, &answer->address, (size_t)answer->size);
}

int answer_give(const struct answer *answer, void *address, int room, int *size)
{
    int fits = answer->size < room ? answer->size : room;
    int result = room < 0 ? -EINVAL : user_write(address, &answer->address, (size_t)fits);
    return result < 0 ? result : user_write(size, &answer->size, sizeof answer->size);
}

long address_call(const struct call *entry, struct trapped *call)
{
    struct answer answer = {.size = sizeof answer.address};
    long *a = call->arguments;
    void *address = (void *)a[entry->path];
    int *size = (int *)a[entry->path + 1], room;
    if (!address || user_read(&room, size, sizeof room) < 0)
        return sys_call6(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    a[entry->path] = (long)&answer.address;
    a[entry->path + 1] = (long)&answer.size;
    long done = sys_call6(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (done < 0)
        return done;
    answer_show(&answer, a[0], call->number == SYS_getsockname);
    int result = answer_give(&answer, address, room, size);
    if (result == 0)
        return done;
    if (call->number == SYS_accept || call->number == SYS_accept4)
        sys_call1(SYS_close, done);
    return result;
}

static long message_receive(struct trapped *call)
{
    struct answer answer = {.size = sizeof answer.address};
    const long *a = call->arguments;
    struct msghdr *guest = (struct msghdr *)a[1], header;
    int result = user_read(&header, guest, sizeof header);
    if (result < 0)
        return result;
    void *address = header.msg_name;
    int room = (int)header.msg_namelen;
    if (!address || room < 0)
        return sys_call3(SYS_recvmsg, a[0], guest, a[2]);
    header.msg_name = &answer.address;
    header.msg_namelen = sizeof answer.address;
    long done = sys_call3(SYS_recvmsg, a[0], &header, a[2]);
    if (done < 0)
        return done;
    answer.size = (int)header.msg_namelen;
    answer_show(&answer, a[0], false);
    result = answer_give(&answer, address, room, (int *)&guest->msg_namelen);
    if (result == 0)
        result = user_write(&guest->msg_controllen, &header.msg_controllen, sizeof header.msg_controllen);
    if (result == 0)
        result = user_write(&guest->msg_flags, &header.msg_flags, sizeof header.msg_flags);
    return result < 0 ? result : done;
}

bool answer_mend(long file, void *address, int size, int *size_place)
{
    struct answer answer = {.size = size};
    if (size <= PATH_START || size > (int)sizeof answer.address ||
        user_read(&answer.address, address, (size_t)size) < 0)
        return false;
    answer_show(&answer, file, false);
    return answer_give(&answer, address, size, size_place) == 0;
}

/* Many messages at once are left to the kernel, for how they wait; the addresses are put right where they lie. */
static long messages_receive(struct trapped *call)
{
    const long *a = call->arguments;
    struct mmsghdr *messages = (struct mmsghdr *)a[1], one;
    long done = sys_call5(SYS_recvmmsg, a[0], a[1], a[2], a[3], a[4]);
    for (long i = 0; i < done; i++)
        if (user_read(&one, &messages[i], sizeof one) == 0 && one.msg_hdr.msg_name)
            answer_mend(a[0], one.msg_hdr.msg_name, (int)one.msg_hdr.msg_namelen, (int *)&messages[i].msg_hdr.msg_namelen);
    return done;
}

long received_call(struct trapped *call)
{
    long done = call->number == SYS_recvmmsg ? messages_receive(call) : message_receive(call);
    if (engine.root)
        credentials_show(call, done);
    return done;
}
