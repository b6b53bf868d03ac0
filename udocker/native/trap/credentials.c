/* SCM_CREDENTIALS of unix(7), where the program is somebody else than the caller: the kernel takes a message only with the
 * caller's own numbers, and gives those to whoever receives one. */

#include <errno.h>
#include <linux/capability.h>
#include <sys/socket.h>

#include "trap.h"

enum { ALIGNMENT = sizeof(size_t) };

/* What follows an item's head in a message's control data, if it is such an item whole; `at` goes on to the next.  False
 * after the last. */
static bool next(const char *control, size_t size, size_t *at, size_t *credentials)
{
    struct cmsghdr head;
    *credentials = 0;
    if (*at > size || size - *at < sizeof head)
        return false;
    bytes_copy((char *)&head, control + *at, sizeof head);
    if (head.cmsg_len < sizeof head || head.cmsg_len > size - *at)
        return false;
    if (head.cmsg_level == SOL_SOCKET && head.cmsg_type == SCM_CREDENTIALS &&
        head.cmsg_len >= sizeof head + sizeof(struct ucred))
        *credentials = *at + sizeof head;
    *at += (head.cmsg_len + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    return true;
}

static bool is_own(const uint32_t *numbers, uint32_t number)
{
    return number == numbers[ROOT_REAL] || number == numbers[ROOT_EFFECTIVE] || number == numbers[ROOT_SAVED];
}

int credentials_exchange(struct ucred *sender)
{
    const struct root_ids *ids = users_ids();
    const struct root_host *host = users_host();
    if (!is_own(ids->uid, sender->uid) && !root_can(ids, CAP_SETUID))
        return -EPERM;
    if (!is_own(ids->gid, sender->gid) && !root_can(ids, CAP_SETGID))
        return -EPERM;
    sender->uid = host->uid[0];
    sender->gid = host->gid[0];
    return 0;
}

void credentials_turn(struct ucred *sender)
{
    const struct root_host *host = users_host();
    sender->uid = sender->uid == host->uid[0] ? 0 : sender->uid;
    sender->gid = sender->gid == host->gid[0] ? 0 : sender->gid;
}

int credentials_lend(struct msghdr *message, char room[CREDENTIALS_ROOM])
{
    size_t at = 0, place, size = message->msg_controllen;
    if (!message->msg_control || size > CREDENTIALS_ROOM || user_read(room, message->msg_control, size) < 0)
        return 0; /* the kernel will tell */
    while (next(room, size, &at, &place)) {
        struct ucred sender;
        if (place == 0)
            continue;
        bytes_copy((char *)&sender, room + place, sizeof sender);
        int result = credentials_exchange(&sender);
        if (result < 0)
            return result;
        bytes_copy(room + place, (const char *)&sender, sizeof sender);
        message->msg_control = room;
    }
    return 0;
}

static void message_show(const struct msghdr *message)
{
    char room[CREDENTIALS_ROOM];
    size_t at = 0, place, size = message->msg_controllen;
    if (!message->msg_control || size > sizeof room || user_read(room, message->msg_control, size) < 0)
        return;
    while (next(room, size, &at, &place)) {
        struct ucred sender;
        if (place == 0)
            continue;
        bytes_copy((char *)&sender, room + place, sizeof sender);
        credentials_turn(&sender);
        user_write((char *)message->msg_control + place, &sender, sizeof sender);
    }
}

void credentials_show(const struct trapped *call, long result)
{
    const char *address = (const char *)call->arguments[1];
    bool many = call->number == SYS_recvmmsg;
    for (long i = 0; i < (many ? result : result < 0 ? 0 : 1); i++) {
        struct msghdr message;
        if (user_read(&message, address + (many ? (size_t)i * sizeof(struct mmsghdr) : 0), sizeof message) == 0)
            message_show(&message);
    }
}
