/* Sockets that have names. */

#include "probe.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t address_set(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strcpy(address->sun_path, path);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

void sockets_have_the_containers_names(void)
{
    struct sockaddr_un address, found;
    char absolute[80], byte;
    snprintf(absolute, sizeof absolute, "%s/socket", place);
    const char *names[] = {absolute, "relative"};
    for (int i = 0; i < 2; i++) {
        socklen_t size = address_set(&address, names[i]), length = sizeof found;
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), caller = socket(AF_UNIX, SOCK_STREAM, 0);
        EXPECT(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 4) == 0);
        EXPECT(access(names[i], F_OK) == 0);
        EXPECT(getsockname(listener, (struct sockaddr *)&found, &length) == 0);
        EXPECT(strcmp(found.sun_path, names[i]) == 0);
        EXPECT(connect(caller, (struct sockaddr *)&address, size) == 0);
        int accepted = accept(listener, NULL, NULL);
        EXPECT(accepted >= 0 && write(caller, "z", 1) == 1 && read(accepted, &byte, 1) == 1 && byte == 'z');
        length = sizeof found;
        EXPECT(getpeername(caller, (struct sockaddr *)&found, &length) == 0);
        EXPECT(strcmp(found.sun_path, names[i]) == 0);
        close(listener), close(caller), close(accepted);
    }
    address_set(&address, "nobody-listens");
    int caller = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT(connect(caller, (struct sockaddr *)&address, sizeof address) == -1 && errno == ENOENT);
}

void datagrams_go_to_names(void)
{
    struct sockaddr_un to, from, found;
    socklen_t size = address_set(&to, "receiver"), length = sizeof found;
    int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    char text[8];
    EXPECT(bind(receiver, (struct sockaddr *)&to, size) == 0);
    EXPECT(bind(sender, (struct sockaddr *)&from, address_set(&from, "sender")) == 0);
    EXPECT(sendto(sender, "first", 5, 0, (struct sockaddr *)&to, size) == 5);
    EXPECT(recvfrom(receiver, text, sizeof text, 0, (struct sockaddr *)&found, &length) == 5);
    EXPECT(strcmp(found.sun_path, "sender") == 0);
    struct iovec part = {"second", 6};
    struct msghdr message = {.msg_name = &to, .msg_namelen = size, .msg_iov = &part, .msg_iovlen = 1};
    EXPECT(sendmsg(sender, &message, 0) == 6 && recv(receiver, text, sizeof text, 0) == 6);
}

void descriptors_pass_through_sockets(void)
{
    int pair[2], sent, got;
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 'f', text[4];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    file_make("file", "sent");
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && (sent = open("file", O_RDONLY)) >= 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof sent)};
    memcpy(CMSG_DATA(header), &sent, sizeof sent);
    EXPECT(sendmsg(pair[0], &message, 0) == 1);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        EXPECT(recvmsg(pair[1], &message, 0) == 1);
        memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
        _exit(read(got, text, 4) == 4 && memcmp(text, "sent", 4) == 0 ? 0 : 1);
    }
    EXPECT(ended_well(child));
}
