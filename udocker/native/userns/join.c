/* Into the namespaces of a program that runs already: udocker exec. */

#include "userns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* When a process has begun, in clock ticks since boot: proc(5), /proc/[pid]/stat, field 22.  0: it is gone. */
static unsigned long long start_read(int process)
{
    char text[1024];
    OWNED_FD fd = openat(process, "stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    char *at = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

/* Opens a process's directory in /proc, which goes on to mean this very process. */
static int process_open(const char *text)
{
    char path[32], *end;
    long pid = strtol(text, &end, 10);
    unsigned long long start = *end == ':' ? strtoull(end + 1, NULL, 10) : 0;
    snprintf(path, sizeof path, "/proc/%ld", pid);
    int process = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (process >= 0 && start != 0 && start_read(process) == start)
        return process;
    fd_close(&process);
    return -ESRCH;
}

/* Whether the caller is in a namespace already: joining one's own user namespace is refused (setns(2)). */
static bool namespace_is_own(int fd, const char *path)
{
    struct stat own, other;
    return stat(path, &own) == 0 && fstat(fd, &other) == 0 && own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

static int namespaces_set(int process)
{
    OWNED_FD user = openat(process, "ns/user", O_RDONLY | O_CLOEXEC);
    OWNED_FD mounts = openat(process, "ns/mnt", O_RDONLY | O_CLOEXEC);
    if (user < 0 || mounts < 0)
        return errno == ENOENT ? -ESRCH : -errno; /* what has ended has no namespaces any more */
    if (!namespace_is_own(user, "/proc/self/ns/user") && setns(user, CLONE_NEWUSER) < 0)
        return -errno;
    return setns(mounts, CLONE_NEWNS) < 0 ? -errno : 0;
}

int join_enter(const char *text, uid_t uid, gid_t gid, const char *workdir, bool may_be_gone)
{
    OWNED_FD self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    OWNED_FD process = self < 0 ? -errno : process_open(text);
    int result = process < 0 ? process : namespaces_set(process);
    if (result == -ESRCH && may_be_gone)
        return result;
    if (result < 0) {
        report_error("joining the container", -result,
                     result == -ESRCH ? "its program has ended meanwhile" : "is the run one of yours?");
        return result;
    }
    /* A user namespace maps one user: another one takes one more around it, with the same mounts. */
    if (uid != geteuid() || gid != getegid())
        result = namespace_map(self, uid, gid);
    if (result < 0 || chdir(workdir) == 0)
        return result;
    int error = errno;
    report_error(workdir, error, "the working directory");
    return -error;
}
