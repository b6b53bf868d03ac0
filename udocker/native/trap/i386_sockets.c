/* Sockets of 32-bit programs.  Messages are sent and received by the very call of i386, because their control data has
 * another layout; only the address in it is exchanged for a copy below 4 GiB. */

#include <errno.h>
#include <linux/net.h>

#include "address.h"
#include "i386.h"

enum {
    SENDMSG = 370,
    RECVMSG = 372, /* without socketcall(2) since Linux 4.3 */
    SOCKETCALL = 102,
    SENDMMSG = 345,
    RECVMMSG = 337,
    ACCEPT4 = 18, /* of socketcall: SYS_ACCEPT4, SYS_RECVMMSG, SYS_SENDMMSG of <linux/net.h> */
    RECEIVE_MANY = 19,
    SEND_MANY = 20,
};

struct header {
    uint32_t name;
    int32_t name_size;
    uint32_t parts, parts_count, control, control_size, flags;
};

struct header_of_many {
    struct header header;
    uint32_t size;
};

/* What is lent for one message: its header, its address and its control data, and socketcall's own arguments. */
struct lent {
    struct header header;
    char name[128];
    uint32_t arguments[6];
    char control[CREDENTIALS_ROOM];
};

struct control { /* struct cmsghdr */
    uint32_t size;
    int32_t level, type;
};

/* The call as the guest has made it: by its own number, or through the one call for all. */
static long message_call_raw(struct lent *lent, bool sends, const long *a, long flags)
{
    const long arguments[6] = {a[0], (long)(uintptr_t)&lent->header, flags};
    long done = i386_raw(sends ? SENDMSG : RECVMSG, arguments);
    if (done != -ENOSYS)
        return done;
    const uint32_t old[3] = {(uint32_t)a[0], (uint32_t)(uintptr_t)&lent->header, (uint32_t)flags};
    bytes_copy((char *)lent->arguments, (const char *)old, sizeof old);
    const long all[6] = {sends ? SYS_SENDMSG : SYS_RECVMSG, (long)(uintptr_t)lent->arguments};
    return i386_raw(SOCKETCALL, all);
}

/* ---- SCM_CREDENTIALS, as in credentials.c ---- */

/* The place of the next sender in control data, or zero after the last. */
static size_t sender_next(const char *data, size_t size, size_t *at)
{
    struct control head;
    while (*at + sizeof head <= size) {
        size_t here = *at;
        bytes_copy((char *)&head, data + here, sizeof head);
        if (head.size < sizeof head || head.size > size - here)
            return 0;
        *at += (head.size + 3) & ~(size_t)3;
        if (head.level == SOL_SOCKET && head.type == SCM_CREDENTIALS && head.size >= sizeof head + sizeof(struct ucred))
            return here + sizeof head;
    }
    return 0;
}

static int senders_lend(struct lent *lent)
{
    size_t at = 0, place, size = lent->header.control_size;
    char room[CREDENTIALS_ROOM];
    if (!lent->header.control || size > sizeof room ||
        user_read(room, (const void *)(uintptr_t)lent->header.control, size) < 0)
        return 0; /* the kernel will tell */
    while ((place = sender_next(room, size, &at)) > 0) {
        struct ucred sender;
        bytes_copy((char *)&sender, room + place, sizeof sender);
        int result = credentials_exchange(&sender);
        if (result < 0)
            return result;
        bytes_copy(room + place, (const char *)&sender, sizeof sender);
    }
    bytes_copy(lent->control, room, size);
    lent->header.control = (uint32_t)(uintptr_t)lent->control;
    return 0;
}

static void senders_show(const struct header *header)
{
    size_t at = 0, place, size = header->control_size;
    char room[CREDENTIALS_ROOM];
    if (!header->control || size > sizeof room || user_read(room, (const void *)(uintptr_t)header->control, size) < 0)
        return;
    while ((place = sender_next(room, size, &at)) > 0) {
        struct ucred sender;
        bytes_copy((char *)&sender, room + place, sizeof sender);
        credentials_turn(&sender);
        user_write((char *)(uintptr_t)header->control + place, &sender, sizeof sender);
    }
}

/* ---- sending ---- */

static long header_send(struct lent *lent, const long *a, long flags)
{
    struct address address;
    struct header *header = &lent->header;
    int result = address_take(&address, a[0], (const void *)(uintptr_t)header->name,
                              header->name_size < 0 ? SIZE_MAX : (size_t)header->name_size, call_find(SYS_sendmsg));
    if (result < 0)
        return result;
    if (result == 0) {
        bytes_copy(lent->name, (const char *)&address.host, sizeof address.host);
        header->name = (uint32_t)(uintptr_t)lent->name;
        header->name_size = (int32_t)address.size;
    }
    long done = engine.root ? senders_lend(lent) : 0;
    if (done == 0)
        done = message_call_raw(lent, true, a, flags);
    address_close(&address);
    return done;
}

static long many_send(struct lent *lent, const long *a)
{
    struct header_of_many *messages = (struct header_of_many *)a[1];
    for (long i = 0; i < a[2]; i++) {
        int result = user_read(&lent->header, &messages[i].header, sizeof lent->header);
        long sent = result < 0 ? result : header_send(lent, a, a[3]);
        uint32_t count = (uint32_t)sent;
        if (sent >= 0)
            sent = user_write(&messages[i].size, &count, sizeof count);
        if (sent < 0)
            return i > 0 ? i : sent;
    }
    return a[2];
}

static long message_make(struct trapped *call, const long *a, bool many)
{
    struct lent *lent = (struct lent *)i386_lend(call, sizeof *lent);
    if (!lent)
        return -ENOMEM;
    if (many)
        return many_send(lent, a);
    int result = user_read(&lent->header, (const void *)a[1], sizeof lent->header);
    return result < 0 ? result : header_send(lent, a, a[2]);
}

I386_MAKES(i386_message)
{
    return message_make(call, call->arguments, entry->number == SENDMMSG);
}

/* ---- receiving ---- */

static long one_receive(struct trapped *call, const long *a)
{
    struct answer answer;
    struct lent *lent = (struct lent *)i386_lend(call, sizeof *lent);
    struct header *guest = (struct header *)a[1], header;
    if (!lent)
        return -ENOMEM;
    if (user_read(&header, guest, sizeof header) < 0)
        return -EFAULT;
    bool named = header.name && header.name_size >= 0;
    lent->header = header;
    if (named) {
        lent->header.name = (uint32_t)(uintptr_t)lent->name;
        lent->header.name_size = sizeof lent->name;
    }
    long done = message_call_raw(lent, false, a, a[2]);
    if (done < 0)
        return done;
    int result = 0;
    if (named) {
        answer.size = lent->header.name_size;
        bytes_copy((char *)&answer.address, lent->name, sizeof lent->name);
        answer_show(&answer, a[0], false);
        result = answer_give(&answer, (void *)(uintptr_t)header.name, header.name_size, (int *)&guest->name_size);
    } else {
        result = user_write(&guest->name_size, &lent->header.name_size, sizeof guest->name_size);
    }
    if (result == 0)
        result = user_write(&guest->control_size, &lent->header.control_size, sizeof guest->control_size);
    if (result == 0)
        result = user_write(&guest->flags, &lent->header.flags, sizeof guest->flags);
    if (engine.root)
        senders_show(&lent->header);
    return result < 0 ? result : done;
}

static long many_mend(const long *a, long done)
{
    struct header_of_many *messages = (struct header_of_many *)a[1], one;
    for (long i = 0; i < done; i++) {
        if (user_read(&one, &messages[i], sizeof one) < 0)
            continue;
        if (one.header.name)
            answer_mend(a[0], (void *)(uintptr_t)one.header.name, one.header.name_size,
                        (int *)&messages[i].header.name_size);
        if (engine.root)
            senders_show(&one.header);
    }
    return done;
}

I386_MAKES(i386_received)
{
    if (entry->number == RECVMSG)
        return one_receive(call, call->arguments);
    return many_mend(call->arguments, i386_raw(call->number, call->arguments));
}

/* ---- other calls ---- */

static bool is_about_peer(const long *a)
{
    return (int)a[1] == SOL_SOCKET && (int)a[2] == SO_PEERCRED;
}

/* Other options are structures, some of them narrower. */
I386_MAKES(i386_option)
{
    return is_about_peer(call->arguments) ? i386_as(call, entry->twin, call->arguments)
                                          : i386_raw(call->number, call->arguments);
}

/* The calls that socketcall(2) stands for: how many arguments each has, and what it is made as; 0 for the call itself. */
static const struct {
    uint8_t count;
    short twin;
} PARTS[] = {
    [SYS_SOCKET] = {3, SYS_socket},
    [SYS_BIND] = {3, SYS_bind},
    [SYS_CONNECT] = {3, SYS_connect},
    [SYS_ACCEPT] = {3, SYS_accept},
    [SYS_GETSOCKNAME] = {3, SYS_getsockname},
    [SYS_GETPEERNAME] = {3, SYS_getpeername},
    [SYS_SENDTO] = {6, SYS_sendto},
    [SYS_RECVFROM] = {6, SYS_recvfrom},
    [SYS_GETSOCKOPT] = {5, SYS_getsockopt},
    [SYS_SENDMSG] = {3, SYS_sendmsg},
    [SYS_RECVMSG] = {3, SYS_recvmsg},
    [ACCEPT4] = {4, SYS_accept4},
    [RECEIVE_MANY] = {5, SYS_recvmmsg},
    [SEND_MANY] = {4, SYS_sendmmsg},
};

I386_MAKES(i386_socketcall)
{
    (void)entry;
    const long *a = call->arguments;
    uint32_t narrow[6];
    long arguments[6] = {0};
    size_t part = (size_t)a[0];
    if (part >= sizeof PARTS / sizeof *PARTS || PARTS[part].count == 0)
        return i386_raw(call->number, a);
    if (user_read(narrow, (const void *)a[1], PARTS[part].count * sizeof *narrow) < 0)
        return -EFAULT;
    for (size_t i = 0; i < PARTS[part].count; i++)
        arguments[i] = narrow[i];
    switch (PARTS[part].twin) {
    case SYS_sendmsg:
    case SYS_sendmmsg:
        return message_make(call, arguments, part == SEND_MANY);
    case SYS_recvmsg:
        return one_receive(call, arguments);
    case SYS_recvmmsg:
        return many_mend(arguments, i386_raw(call->number, a));
    case SYS_getsockopt:
        if (!engine.root || !is_about_peer(arguments))
            return i386_raw(call->number, a);
        /* fall through */
    default:
        return i386_as(call, PARTS[part].twin, arguments);
    }
}
