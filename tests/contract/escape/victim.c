/* A process of the host that a guest may try to use: it is in the outside directory, has it and the secret open,
 * and hands both to whoever connects to MORE.  It writes a file where somebody reaches its other socket. */

#include "escape.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(2);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    check(bind(file, (struct sockaddr *)&address, sizeof address), path);
    check(listen(file, 8), path);
    return file;
}

static void hand_over(int client)
{
    int files[] = {VICTIM_DIRECTORY, VICTIM_FILE};
    char byte = 'x', room[CMSG_SPACE(sizeof files)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof files);
    memcpy(CMSG_DATA(header), files, sizeof files);
    sendmsg(client, &message, MSG_NOSIGNAL);
}

int victim(const struct scene *scene)
{
    check(chdir(scene->outside), scene->outside);
    check(dup2(open(".", O_RDONLY | O_DIRECTORY), VICTIM_DIRECTORY), "directory");
    check(dup2(open("secret", O_RDWR), VICTIM_FILE), "secret");
    void *text = mmap(NULL, 4096, PROT_READ, MAP_SHARED, VICTIM_FILE, 0);
    check(text == MAP_FAILED ? -1 : 0, "mmap");
    struct pollfd files[] = {
        {.fd = listen_at("socket"), .events = POLLIN},
        {.fd = listen_at(scene->more), .events = POLLIN},
        {.fd = 0, .events = POLLIN},
    };
    printf("%d\n", getpid());
    while (poll(files, 3, -1) > 0 && !files[2].revents) {
        if (files[0].revents)
            own_file("connected");
        int ready = files[0].revents ? 0 : 1, client = accept(files[ready].fd, NULL, NULL);
        if (ready == 1)
            hand_over(client);
        close(client);
    }
    return 0;
}
