/* engine_enter UID NAMESPACE DIRECTORY PROGRAM [ARGUMENT...]: enter a mount namespace, unless that is "-", and
 * a root directory, become an ordinary user, and then the program.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int namespace_enter(const char *path)
{
    if (path[0] == '-')
        return 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    return file < 0 ? -1 : setns(file, CLONE_NEWNS);
}

int main(int count, char **words)
{
    if (count < 5)
        return 125;
    uid_t user = (uid_t)atoi(words[1]);
    if (namespace_enter(words[2]) || chroot(words[3]) || chdir("/") || setgroups(0, NULL) || setgid(user) ||
        setuid(user)) {
        perror("engine_enter");
        return 125;
    }
    execv(words[4], words + 4);
    perror(words[4]);
    return 127;
}
