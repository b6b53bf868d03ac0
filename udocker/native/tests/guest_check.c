/* What a program may expect of its kernel, where an engine stands between the two: guest.h. */

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

extern char **environ;

/* Pointers are longs here, or the compiler would warn of what is tried on purpose. */
static long call(long number, long a, long b, long c, long d)
{
    return syscall(number, a, b, c, d);
}

static void pointers_that_lead_nowhere(void)
{
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct stat info;
    EXPECT(page != MAP_FAILED && munmap(page + 4096, 4096) == 0);
    memset(page, 'x', 4096);
    EXPECT(call(SYS_openat, AT_FDCWD, 8, O_RDONLY, 0) == -1 && errno == EFAULT);
    EXPECT(call(SYS_stat, (long)(page + 4090), (long)&info, 0, 0) == -1 && errno == EFAULT);
    EXPECT(call(SYS_stat, (long)"/", 8, 0, 0) == -1 && errno == EFAULT);
    EXPECT(call(SYS_readlink, (long)"/proc/self/exe", 8, 100, 0) == -1 && errno == EFAULT);
    EXPECT(call(SYS_getcwd, 8, 100, 0, 0) == -1 && errno == EFAULT);
    EXPECT(call(SYS_execve, (long)"/bin/true", 8, 0, 0) == -1 && errno == EFAULT);
    EXPECT(mprotect(page, 4096, PROT_NONE) == 0);
    long bad[] = {0, 7, 8, (long)page};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(call(SYS_openat2, AT_FDCWD, (long)"/", bad[i], 24) == -1 && errno == EFAULT);
        EXPECT(call(SYS_mknod, bad[i], S_IFREG, 0, 0) == -1 && errno == EFAULT);
        EXPECT(call(SYS_connect, 0, bad[i], 110, 0) == -1 && (errno == EFAULT || errno == ENOTSOCK));
        EXPECT(call(SYS_rt_sigprocmask, SIG_BLOCK, bad[i] ? bad[i] : 8, 0, 8) == -1 && errno == EFAULT);
        EXPECT(call(SYS_rt_sigaction, SIGSYS, bad[i] ? bad[i] : 8, 0, 8) == -1 && errno == EFAULT);
        EXPECT(call(SYS_rt_sigaction, 33, 0, bad[i] ? bad[i] : 8, 8) == -1 && errno == EFAULT);
    }
    EXPECT(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    strcpy(page + 4094, "/");
    EXPECT(call(SYS_stat, (long)(page + 4094), (long)&info, 0, 0) == 0);
}

static void buffers_that_are_short(void)
{
    char text[4] = "zzz", cwd[2];
    EXPECT(chdir("/tmp") == 0);
    EXPECT(readlink("/proc/self/exe", text, 2) == 2 && text[2] == 'z');
    EXPECT(call(SYS_getcwd, (long)cwd, 2, 0, 0) == -1 && errno == ERANGE);
    EXPECT(call(SYS_readlink, (long)"/proc/self/exe", (long)text, 0, 0) == -1 && errno == EINVAL);
}

static volatile sig_atomic_t heard;

static void hear(int number)
{
    heard = number;
    EXPECT(access("/bin/busybox", F_OK) == 0);
}

static void masks_that_hold_every_signal(void)
{
    sigset_t all, old, now;
    struct sigaction action = {.sa_handler = hear};
    sigfillset(&action.sa_mask);
    sigfillset(&all);
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
    EXPECT(sigprocmask(SIG_SETMASK, &all, &old) == 0);
    EXPECT(access("/bin/busybox", F_OK) == 0);
    EXPECT(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && sigismember(&now, SIGALRM));
    sigdelset(&all, SIGALRM);
    alarm(1);
    EXPECT(sigsuspend(&all) == -1 && errno == EINTR && heard == SIGALRM);
    EXPECT(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
}

static void a_signal_that_is_the_engines_own(void)
{
    struct sigaction action = {.sa_handler = hear}, old;
    EXPECT(sigaction(SIGSYS, &action, NULL) == 0);
    EXPECT(sigaction(SIGSYS, NULL, &old) == 0 && old.sa_handler == hear);
    heard = 0;
    EXPECT(raise(SIGSYS) == 0 && heard == SIGSYS);
    EXPECT(access("/bin/busybox", F_OK) == 0);
}

static void children_by_the_hundred(void)
{
    char *arguments[] = {"true", NULL};
    EXPECT(call(435 /* clone3 */, 0, 0, 0, 0) == -1 && errno == ENOSYS); /* C libraries do without */
    for (int i = 0; i < 600; i++) {
        pid_t child;
        int status;
        EXPECT(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
}

static void *open_and_close(void *unused)
{
    for (int i = 0; i < 2000; i++) {
        struct stat info;
        int file = open(i % 2 ? "/bin/sh" : "/etc/passwd", O_RDONLY | O_CLOEXEC);
        EXPECT(file >= 0 && fstat(file, &info) == 0 && close(file) == 0);
        EXPECT(lstat("/bin/sh", &info) == 0 && S_ISLNK(info.st_mode));
    }
    return unused;
}

static void threads_beside_forks(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        EXPECT(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        int status;
        EXPECT(child >= 0);
        if (child == 0)
            _exit(access("/bin/busybox", F_OK));
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
    for (int i = 0; i < 4; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
}

static void sockets_with_paths(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int one = socket(AF_UNIX, SOCK_STREAM, 0), other = socket(AF_UNIX, SOCK_STREAM, 0);
    struct stat info;
    /* Fits an address here, and no longer with the way to the container's root before it. */
    memset(address.sun_path, 'n', 80);
    memcpy(address.sun_path, "/tmp/", 5);
    unlink(address.sun_path);
    EXPECT(bind(one, (struct sockaddr *)&address, sizeof address) == 0 && listen(one, 1) == 0);
    EXPECT(stat(address.sun_path, &info) == 0 && S_ISSOCK(info.st_mode));
    EXPECT(connect(other, (struct sockaddr *)&address, sizeof address) == 0);
    EXPECT(bind(other, (struct sockaddr *)&address, sizeof address) == -1);
}

static void given_back(int result, const struct sockaddr_un *address, const socklen_t *size, const char *path)
{
    EXPECT(result >= 0 && strcmp(address->sun_path, path) == 0);
    EXPECT(*size == offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

/* The address of a socket is what it was bound to, for everybody who asks. */
static void addresses_of(const char *path)
{
    struct sockaddr_un mine = {.sun_family = AF_UNIX}, got;
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t size = sizeof got;
    strcpy(mine.sun_path, path);
    unlink(path);
    EXPECT(bind(client, (struct sockaddr *)&mine, sizeof mine) == 0 && unlink(path) == 0);
    EXPECT(bind(server, (struct sockaddr *)&mine, sizeof mine) == 0 && listen(server, 1) == 0);
    given_back(getsockname(server, (struct sockaddr *)&got, &size), &got, &size, path);
    EXPECT(connect(client, (struct sockaddr *)&got, size) == 0);
    size = sizeof got;
    int accepted = accept(server, (struct sockaddr *)&got, &size);
    given_back(accepted, &got, &size, path);
    size = sizeof got;
    given_back(getpeername(accepted, (struct sockaddr *)&got, &size), &got, &size, path);
    size = 5;
    EXPECT(getsockname(server, (struct sockaddr *)&got, &size) == 0 && size > 5);
    EXPECT(call(SYS_getsockname, server, 8, (long)&size, 0) == -1 && errno == EFAULT);
    close(server), close(client), close(accepted);
    unlink(path);
}

static void senders_of(const char *path)
{
    struct sockaddr_un mine = {.sun_family = AF_UNIX}, got[2];
    int one = socket(AF_UNIX, SOCK_DGRAM, 0), other = socket(AF_UNIX, SOCK_DGRAM, 0);
    char byte = 'x', buffers[2];
    struct iovec parts[2] = {{&buffers[0], 1}, {&buffers[1], 1}};
    struct mmsghdr messages[2] = {{{.msg_name = &got[0], .msg_namelen = sizeof *got, .msg_iov = &parts[0], .msg_iovlen = 1}, 0},
                                  {{.msg_name = &got[1], .msg_namelen = sizeof *got, .msg_iov = &parts[1], .msg_iovlen = 1}, 0}};
    socklen_t size = sizeof *got;
    strcpy(mine.sun_path, path);
    unlink(path);
    EXPECT(bind(one, (struct sockaddr *)&mine, sizeof mine) == 0);
    for (int i = 0; i < 4; i++)
        EXPECT(sendto(one, &byte, 1, 0, (struct sockaddr *)&mine, sizeof mine) == 1);
    given_back((int)recvfrom(one, &byte, 1, 0, (struct sockaddr *)got, &size), got, &size, path);
    EXPECT(recvmsg(one, &messages[0].msg_hdr, 0) == 1);
    given_back(1, &got[0], &messages[0].msg_hdr.msg_namelen, path);
    messages[0].msg_hdr.msg_namelen = sizeof *got;
    memset(got, 0, sizeof got);
    EXPECT(recvmmsg(one, messages, 2, 0, NULL) == 2);
    given_back(1, &got[0], &messages[0].msg_hdr.msg_namelen, path);
    given_back(1, &got[1], &messages[1].msg_hdr.msg_namelen, path);
    close(one), close(other);
    unlink(path);
}

static void addresses_that_are_given_back(void)
{
    char longer[] = "/tmp/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
    EXPECT(chdir("/tmp") == 0);
    const char *const paths[] = {"/tmp/short", longer, "/bound/inner", "relative"};
    for (int i = 0; i < 4; i++) {
        addresses_of(paths[i]);
        senders_of(paths[i]);
    }
}

static void a_program_without_a_name(void)
{
    char *arguments[] = {"nameless", "true", NULL};
    int file = open("/bin/busybox", O_RDONLY), copy = memfd_create("program", MFD_CLOEXEC);
    char block[65536];
    EXPECT(file >= 0 && copy >= 0);
    for (ssize_t size; (size = read(file, block, sizeof block)) > 0;)
        EXPECT(write(copy, block, (size_t)size) == size);
    arguments[0] = "true";
    fexecve(copy, arguments, environ);
    EXPECT(!"fexecve returned");
}

/* Where memory cannot become executable after it was written, no engine can rewrite anything. */
static void a_kernel_that_guards_text(void)
{
    char *arguments[] = {"sh", "-c", "for i in 1 2 3; do /bin/true </etc/passwd || exit 1; done", NULL};
    pid_t child;
    int status;
    if (prctl(65 /* PR_SET_MDWE */, 1 /* PR_MDWE_REFUSE_EXEC_GAIN */, 0, 0, 0) < 0) {
        EXPECT(errno == EINVAL); /* before Linux 6.3 */
        return;
    }
    EXPECT(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ) == 0);
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(access("/bin/busybox", F_OK) == 0 && mkdir("/tmp/guarded", 0700) == 0 && rmdir("/tmp/guarded") == 0);
}

static void a_heap_that_grows(void)
{
    char *start = sbrk(0);
    for (int i = 0; i < 64; i++) {
        char *more = sbrk(16 << 20);
        EXPECT(more == start + ((long)i << 24));
        *more = 1;
    }
    EXPECT(sbrk(-(1 << 30)) != (void *)-1 && sbrk(0) == start);
}

/* No descriptor is left open, neither in this program nor in the next. */
static void descriptors_that_stay_closed(void)
{
    char *arguments[] = {"sh", "-c", "set -- /proc/self/fd/*; test $# -le 4", NULL}, *none[] = {NULL};
    char *nothing[] = {"nothing", NULL};
    int before = dup(0), status;
    pid_t child;
    EXPECT(before >= 0 && close(before) == 0);
    EXPECT(execve("/no/such/program", nothing, none) == -1 && errno == ENOENT);
    EXPECT(execve("/etc/passwd", nothing, none) == -1 && errno == EACCES);
    EXPECT(syscall(SYS_execveat, 0, "", nothing, none, 0) == -1);
    EXPECT(syscall(SYS_execveat, 77, "x", nothing, none, 0) == -1 && errno == EBADF);
    int after = dup(0);
    EXPECT(after == before && close(after) == 0);
    EXPECT(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ) == 0);
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

static int script_status(int file, const char *path, int flags)
{
    char *arguments[] = {"x", NULL}, *none[] = {NULL};
    pid_t child = fork();
    int status;
    if (child == 0) {
        syscall(SYS_execveat, file, path, arguments, none, flags);
        _exit(errno == ENOENT ? 2 : 3);
    }
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* A script's interpreter is told a name that leads to it: execveat(2). */
static void scripts_named_by_descriptors(void)
{
    static const char text[] = "#!/bin/sh\n[ \"$0\" = /dev/fd/9 ] && exit 42\n[ \"$0\" = /dev/fd/9/byfd ] && exit 43\n";
    int file = open("/tmp/byfd", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    EXPECT(file >= 0 && write(file, text, sizeof text - 1) == sizeof text - 1 && close(file) == 0);
    EXPECT((file = open("/tmp/byfd", O_RDONLY | O_CLOEXEC)) >= 0 && dup2(file, 9) == 9);
    EXPECT(script_status(9, "", AT_EMPTY_PATH) == 42);
    EXPECT(fcntl(9, F_SETFD, FD_CLOEXEC) == 0 && script_status(9, "", AT_EMPTY_PATH) == 2);
    EXPECT((file = open("/tmp", O_RDONLY | O_CLOEXEC)) >= 0 && dup2(file, 9) == 9);
    EXPECT(script_status(9, "byfd", 0) == 43);
    EXPECT(unlink("/tmp/byfd") == 0);
}

static const struct check CHECKS[] = {
    {"pointers", pointers_that_lead_nowhere},
    {"buffers", buffers_that_are_short},
    {"masks", masks_that_hold_every_signal},
    {"sigsys", a_signal_that_is_the_engines_own},
    {"children", children_by_the_hundred},
    {"threads", threads_beside_forks},
    {"sockets", sockets_with_paths},
    {"addresses", addresses_that_are_given_back},
    {"guarded", a_kernel_that_guards_text},
    {"heap", a_heap_that_grows},
    {"descriptors", descriptors_that_stay_closed},
    {"scripts", scripts_named_by_descriptors},
    {"nameless", a_program_without_a_name},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
