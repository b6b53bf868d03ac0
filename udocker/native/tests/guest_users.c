/* What a program that is root, or somebody else, may expect of its calls: run inside, with the name of a check.  It says
 * what is wrong, and is silent otherwise. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            printf("%s:%d: %s (%s)\n", __func__, __LINE__, #condition, strerror(errno)); \
            exit(1); \
        } \
    } while (0)

static const char *self;

/* Runs this program again with a check of its own, by fork and execve. */
static void again(const char *check)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        execl(self, self, check, (char *)NULL);
        _exit(9);
    }
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static bool are(uid_t real, uid_t effective, uid_t saved)
{
    uid_t numbers[3];
    return getresuid(&numbers[0], &numbers[1], &numbers[2]) == 0 && numbers[0] == real && numbers[1] == effective &&
           numbers[2] == saved;
}

static void check_dropped(void)
{
    gid_t group;
    EXPECT(are(33, 33, 33) && getgid() == 34 && getgroups(1, &group) == 1 && group == 35);
    EXPECT(setuid(0) == -1 && errno == EPERM);
}

static void check_lowered(void)
{
    EXPECT(are(0, 33, 33) && seteuid(0) == 0);
}

static void check_drop(void)
{
    gid_t group = 35;
    EXPECT(are(0, 0, 0));
    EXPECT(seteuid(33) == 0 && are(0, 33, 0) && setgid(5) == -1 && errno == EPERM);
    again("lowered");
    EXPECT(seteuid(0) == 0 && are(0, 0, 0));
    EXPECT(setgroups(1, &group) == 0 && setgid(34) == 0 && setuid(33) == 0);
    EXPECT(seteuid(0) == -1 && errno == EPERM && setgroups(0, NULL) == -1 && errno == EPERM);
    again("dropped");
    check_dropped();
}

/* A child that shares our memory is itself alone what it makes of itself. */
static void check_shared(void)
{
    int status;
    pid_t child = vfork();
    if (child == 0) {
        syscall(SYS_setresuid, 7, 7, 7);
        _exit(syscall(SYS_getuid) == 7 && syscall(SYS_geteuid) == 7 ? 0 : 1);
    }
    EXPECT(waitpid(child, &status, 0) == child && status == 0 && are(0, 0, 0));
    child = vfork();
    if (child == 0) {
        syscall(SYS_setresuid, 0, 33, 0);
        execl(self, self, "lowered", (char *)NULL);
        _exit(9);
    }
    EXPECT(waitpid(child, &status, 0) == child && status == 0 && are(0, 0, 0));
    again("drop");
    EXPECT(are(0, 0, 0));
}

extern char **environ;

/* posix_spawn(3) with POSIX_SPAWN_RESETIDS. */
static void check_spawn(void)
{
    posix_spawnattr_t attributes;
    char *arguments[] = {(char *)(uintptr_t)self, (char *)(uintptr_t)"real", NULL};
    pid_t child;
    int status;
    EXPECT(seteuid(33) == 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_RESETIDS);
    EXPECT(posix_spawn(&child, self, NULL, &attributes, arguments, environ) == 0);
    EXPECT(waitpid(child, &status, 0) == child && status == 0 && are(0, 33, 0));
}

static void check_real(void)
{
    EXPECT(are(0, 0, 0));
}

/* This program's file is root's, and lends its user and group to whoever runs it. */
static void check_lent(void)
{
    EXPECT(are(1234, 0, 0) && getgid() == 2345 && getegid() == 5 && getauxval(AT_SECURE) == 1);
    EXPECT(setuid(0) == 0 && are(0, 0, 0) && setgid(7) == 0);
}

static pthread_barrier_t barrier;

static void *thread_run(void *argument)
{
    for (int turn = 0; turn < 2; turn++)
        pthread_barrier_wait(&barrier);
    return (void *)(uintptr_t)(are(44, 44, 44) && setuid(0) == -1 && argument == NULL);
}

/* The C library lets every thread make the call, by a signal. */
static void check_threads(void)
{
    pthread_t threads[8];
    void *good;
    pthread_barrier_init(&barrier, NULL, 9);
    for (int i = 0; i < 8; i++)
        EXPECT(pthread_create(&threads[i], NULL, thread_run, NULL) == 0);
    pthread_barrier_wait(&barrier);
    EXPECT(setgid(45) == 0 && setuid(44) == 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 8; i++)
        EXPECT(pthread_join(threads[i], &good) == 0 && good);
}

static void check_attributes(void)
{
    char text[256];
    int file = open("/tmp/attributes", O_CREAT | O_RDWR, 0644);
    EXPECT(file >= 0 && fchown(file, 7, 8) == 0);
    EXPECT(setxattr("/tmp/attributes", "user.x", "1", 1, 0) == 0);
    EXPECT(listxattr("/tmp/attributes", text, sizeof text) == 7 && memcmp(text, "user.x", 7) == 0);
    EXPECT(flistxattr(file, text, sizeof text) == 7 && flistxattr(file, NULL, 0) >= 7);
    EXPECT(getxattr("/tmp/attributes", "user.udocker.owner", text, sizeof text) == -1 && errno == ENODATA);
    EXPECT(fgetxattr(file, "user.udocker.owner", text, sizeof text) == -1 && errno == ENODATA);
    EXPECT(fgetxattr(file, "user.x", text, sizeof text) == 1);
    EXPECT(setxattr("/tmp/attributes", "user.udocker.owner", "0:0:0:0", 7, 0) == -1 && errno == EPERM);
    EXPECT(fsetxattr(file, "user.udocker.owner", "0:0:0:0", 7, 0) == -1 && errno == EPERM);
    EXPECT(fremovexattr(file, "user.udocker.owner") == -1 && errno == ENODATA);
    EXPECT(lremovexattr("/tmp/attributes", "user.udocker.owner") == -1 && errno == ENODATA);
    EXPECT(getxattr("/tmp/attributes", NULL, text, sizeof text) == -1 && errno == EFAULT);
    EXPECT(unlink("/tmp/attributes") == 0 && close(file) == 0);
}

static void check_files(void)
{
    struct stat info;
    struct statx wide;
    int file = open("/tmp/file", O_CREAT | O_EXCL | O_RDWR, 04100);
    EXPECT(file >= 0 && fstat(file, &info) == 0 && (info.st_mode & 07777) == 04100 && info.st_uid == 0);
    EXPECT(fchmod(file, 06755) == 0 && fstat(file, &info) == 0 && (info.st_mode & 07777) == 06755);
    EXPECT(fchown(file, 7, 8) == 0 && lstat("/tmp/file", &info) == 0 && info.st_uid == 7 && info.st_gid == 8);
    EXPECT((info.st_mode & 07777) == 0755);
    EXPECT(fchownat(file, "", 9, -1, AT_EMPTY_PATH) == 0);
    EXPECT(statx(AT_FDCWD, "/tmp/file", 0, STATX_SIZE, &wide) == 0 && wide.stx_uid == 9 && wide.stx_gid == 8);
    EXPECT(statx(file, "", AT_EMPTY_PATH, STATX_ALL, &wide) == 0 && wide.stx_uid == 9);
    EXPECT(symlink("file", "/tmp/link") == 0 && lchown("/tmp/link", 5, 5) == 0 && chown("/tmp/link", 6, 6) == 0);
    EXPECT(stat("/tmp/file", &info) == 0 && info.st_uid == 6 && lstat("/tmp/link", &info) == 0 && info.st_uid == 0);
    EXPECT(chdir("/tmp") == 0 && fstatat(AT_FDCWD, "", &info, AT_EMPTY_PATH) == 0 && S_ISDIR(info.st_mode));
    EXPECT(fchownat(AT_FDCWD, "file", 1, 1, 0x40000000) == -1 && errno == EINVAL);
    EXPECT(fchownat(AT_FDCWD, "", 1, 1, 0) == -1 && errno == ENOENT);
    EXPECT(fchown(-1, 1, 1) == -1 && errno == EBADF && fchmod(-1, 1) == -1 && errno == EBADF);
    int place = open("/tmp/file", O_PATH);
    EXPECT(place >= 0 && fchown(place, 1, 1) == -1 && errno == EBADF && fstat(place, &info) == 0 && info.st_uid == 6);
    EXPECT(syscall(SYS_fchmod, place, 0700) == -1 && errno == EBADF && close(place) == 0);
    EXPECT(syscall(SYS_fstat, file, 8) == -1 && errno == EFAULT);
    EXPECT(syscall(SYS_statx, AT_FDCWD, "file", 0, STATX_ALL, 8) == -1 && errno == EFAULT);
    EXPECT(unlink("/tmp/file") == 0 && unlink("/tmp/link") == 0);
    /* A file that is not there yet, made by a name that a link leads to. */
    EXPECT(symlink("behind", "/tmp/link") == 0 && (file = open("/tmp/link", O_CREAT | O_WRONLY, 0)) >= 0);
    EXPECT(stat("/tmp/behind", &info) == 0 && (info.st_mode & 07777) == 0);
    EXPECT(open("/tmp/link", O_CREAT | O_EXCL | O_WRONLY, 0) == -1 && errno == EEXIST);
    EXPECT(open("/tmp/link", O_CREAT | O_RDWR, 0) >= 0);
    EXPECT(unlink("/tmp/behind") == 0 && unlink("/tmp/link") == 0);
}

/* Programs may use up their descriptors. */
static void check_poor(void)
{
    struct stat info;
    struct statx wide;
    int last = -1;
    for (int file; (file = dup(0)) >= 0;)
        last = file;
    EXPECT(errno == EMFILE && stat("/bin", &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == 0);
    EXPECT(lstat("/tmp/../bin/sh", &info) == 0 && S_ISLNK(info.st_mode) && stat("/none", &info) == -1 && errno == ENOENT);
    EXPECT(statx(AT_FDCWD, "/bin/sh", 0, STATX_ALL, &wide) == 0 && S_ISREG(wide.stx_mode) && wide.stx_uid == 0);
    EXPECT(access("/bin/sh", X_OK) == 0 && fstat(last, &info) == 0);
}

/* A message with its sender's numbers, from one end of a pair to the other: what comes out, or -1. */
static int passed(int *pair, uid_t uid, struct ucred *out)
{
    char letter = 'x';
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control = {0};
    struct iovec data = {&letter, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct ucred sender = {getpid(), uid, getgid()};
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof sender), .cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_CREDENTIALS};
    memcpy(CMSG_DATA(&control.head), &sender, sizeof sender);
    if (sendmsg(pair[0], &message, 0) < 0)
        return -1;
    memset(&control, 0, sizeof control);
    if (recvmsg(pair[1], &message, 0) != 1 || message.msg_controllen < CMSG_LEN(sizeof sender))
        return -1;
    memcpy(out, CMSG_DATA(&control.head), sizeof *out);
    return 0;
}

static void check_credentials(void)
{
    struct ucred out;
    int pair[2], on = 1;
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    EXPECT(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    EXPECT(passed(pair, 0, &out) == 0 && out.pid == getpid() && out.uid == 0 && out.gid == 0);
    EXPECT(setuid(33) == 0 && passed(pair, 33, &out) == 0);
    EXPECT(passed(pair, 0, &out) == -1 && errno == EPERM);
}

static void check_system(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    struct ucred peer;
    socklen_t size = sizeof peer;
    int pair[2];
    EXPECT(syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1u << CAP_CHOWN));
    EXPECT(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0 && prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0) == 1);
    EXPECT(prctl(PR_SET_NAME, "named", 0, 0, 0) == 0);
    EXPECT(socket(AF_NETLINK, SOCK_RAW, 9 /* NETLINK_AUDIT */) == -1 && errno == EPROTONOSUPPORT);
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    EXPECT(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == 0 && peer.gid == 0);
    EXPECT(getauxval(AT_UID) == 0 && getauxval(AT_EGID) == 0 && getauxval(AT_SECURE) == 0);
    EXPECT(sethostname("other", 5) == -1 && errno == EPERM);
    EXPECT(mkdir("/tmp/made", 0) == 0 && rmdir("/tmp/made") == 0);
}

static const struct {
    const char *name;
    void (*run)(void);
} CHECKS[] = {
    {"drop", check_drop},       {"dropped", check_dropped},       {"lowered", check_lowered}, {"shared", check_shared},
    {"spawn", check_spawn},     {"real", check_real},             {"threads", check_threads}, {"files", check_files},
    {"system", check_system},   {"attributes", check_attributes}, {"lent", check_lent},
    {"poor", check_poor},       {"credentials", check_credentials},
};

int main(int count, char **arguments)
{
    umask(0);
    self = "/bin/guest_users";
    for (size_t i = 0; count == 2 && i < sizeof CHECKS / sizeof *CHECKS; i++)
        if (strcmp(CHECKS[i].name, arguments[1]) == 0) {
            CHECKS[i].run();
            return 0;
        }
    printf("no such check\n");
    return 2;
}
