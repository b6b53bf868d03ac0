/* What programs do with their system, tried from inside a container: "image_probe NAME"; status 0, or a line that
 * tells what was wrong.  Built for every C library that the images have, static and dynamic.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>

extern char **environ;

#define EXPECT(condition)                                                             \
    do {                                                                              \
        if (!(condition)) {                                                           \
            printf("%s:%d: %s (errno %d)\n", __func__, __LINE__, #condition, errno); \
            fflush(stdout);                                                           \
            _exit(1);                                                                 \
        }                                                                             \
    } while (0)

static char self[PATH_MAX]; /* this program, as the container calls it */
static char place[64];      /* a new directory, also the working directory */

static bool ended_well(pid_t child)
{
    int status;
    pid_t ended;
    while ((ended = waitpid(child, &status, 0)) == -1 && errno == EINTR)
        ;
    return ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void file_make(const char *name, const char *text)
{
    int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    EXPECT(file >= 0);
    EXPECT(write(file, text, strlen(text)) == (ssize_t)strlen(text));
    EXPECT(close(file) == 0);
}

static bool file_is(const char *name, const char *text)
{
    char found[256] = "";
    int file = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, found, sizeof found - 1);
    if (file >= 0)
        close(file);
    return size == (ssize_t)strlen(text) && strcmp(found, text) == 0;
}

/* ---- files ---- */

static void files_are_made_and_changed(void)
{
    struct stat info, other;
    struct timespec times[2] = {{1000000000, 0}, {1000000001, 0}};
    file_make("one", "text\n");
    EXPECT(link("one", "two") == 0 && stat("two", &info) == 0 && info.st_nlink == 2);
    EXPECT(symlink("two", "three") == 0 && lstat("three", &other) == 0 && S_ISLNK(other.st_mode));
    EXPECT(stat("three", &other) == 0 && other.st_ino == info.st_ino && other.st_dev == info.st_dev);
    EXPECT(rename("one", "four") == 0 && access("one", F_OK) == -1 && errno == ENOENT);
    EXPECT(chmod("four", 0600) == 0 && stat("four", &info) == 0 && (info.st_mode & 07777) == 0600);
    EXPECT(utimensat(AT_FDCWD, "four", times, 0) == 0 && stat("four", &info) == 0 && info.st_mtime == 1000000001);
    EXPECT(truncate("four", 2) == 0 && file_is("two", "te"));
    EXPECT(chown("four", getuid(), getgid()) == 0);
    EXPECT(mkfifo("fifo", 0644) == 0 && stat("fifo", &info) == 0 && S_ISFIFO(info.st_mode));
    EXPECT(unlink("fifo") == 0 && unlink("three") == 0 && unlink("two") == 0 && unlink("four") == 0);
    EXPECT(open("gone", O_RDONLY) == -1 && errno == ENOENT);
    EXPECT(open("/etc/passwd/x", O_RDONLY) == -1 && errno == ENOTDIR);
    EXPECT(mkdir("/etc", 0755) == -1 && errno == EEXIST);
    EXPECT(rmdir(".") == -1 && errno == EINVAL);
}

static void calls_relative_to_directories(void)
{
    struct stat info;
    char text[16];
    EXPECT(mkdir("a", 0755) == 0);
    int directory = open("a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int handle = open("a", O_PATH | O_CLOEXEC);
    EXPECT(directory >= 0 && handle >= 0);
    int file = openat(directory, "file", O_WRONLY | O_CREAT | O_EXCL, 0644);
    EXPECT(file >= 0 && write(file, "x", 1) == 1 && close(file) == 0);
    EXPECT(fstatat(handle, "file", &info, 0) == 0 && info.st_size == 1);
    EXPECT(linkat(directory, "file", AT_FDCWD, "hard", 0) == 0);
    EXPECT(symlinkat("file", directory, "soft") == 0);
    EXPECT(readlinkat(handle, "soft", text, sizeof text) == 4 && memcmp(text, "file", 4) == 0);
    EXPECT(mkdirat(directory, "b", 0755) == 0 && faccessat(handle, "b", X_OK, 0) == 0);
    EXPECT(renameat(directory, "b", AT_FDCWD, "c") == 0 && access("c", F_OK) == 0);
    EXPECT(fstatat(directory, "", &info, AT_EMPTY_PATH) == 0 && S_ISDIR(info.st_mode));
    EXPECT(fchmodat(directory, "file", 0640, 0) == 0 && unlinkat(directory, "soft", 0) == 0);
    EXPECT(openat(directory, "../hard", O_RDONLY | O_CLOEXEC) >= 0);
    EXPECT(fchdir(directory) == 0 && access("file", F_OK) == 0 && chdir("..") == 0);
    EXPECT(unlinkat(AT_FDCWD, "c", AT_REMOVEDIR) == 0);
}

static int entries;

static int entry_count(const char *path, const struct stat *info, int kind, struct FTW *unused)
{
    (void)path, (void)info, (void)unused;
    entries++;
    return kind == FTW_D || kind == FTW_F || kind == FTW_SL ? 0 : 1;
}

static void trees_are_walked(void)
{
    char name[32], absolute[PATH_MAX];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "d%d", i);
        EXPECT(mkdir(name, 0755) == 0);
        snprintf(name, sizeof name, "d%d/f", i);
        file_make(name, "");
    }
    EXPECT(nftw(place, entry_count, 8, FTW_PHYS) == 0 && entries == 101);
    EXPECT(nftw(".", entry_count, 8, FTW_PHYS | FTW_CHDIR) == 0 && entries == 202);
    EXPECT(realpath("d1/../d2/./f", absolute) && strncmp(absolute, place, strlen(place)) == 0);
    EXPECT(strcmp(absolute + strlen(place), "/d2/f") == 0);
    DIR *directory = opendir("/");
    bool etc = false;
    for (struct dirent *entry; (entry = readdir(directory));)
        etc = etc || strcmp(entry->d_name, "etc") == 0;
    EXPECT(etc && closedir(directory) == 0);
}

static void the_working_directory_is_the_containers(void)
{
    char now[PATH_MAX], deep[PATH_MAX];
    EXPECT(getcwd(now, sizeof now) && strcmp(now, place) == 0);
    EXPECT(chdir("/") == 0 && getcwd(now, sizeof now) && strcmp(now, "/") == 0);
    EXPECT(chdir("../..") == 0 && getcwd(now, sizeof now) && strcmp(now, "/") == 0);
    EXPECT(chdir(place) == 0);
    /* Deeper than any path may be long. */
    memset(deep, 'd', 200);
    deep[200] = '\0';
    for (int i = 0; i < 30; i++)
        EXPECT(mkdir(deep, 0755) == 0 && chdir(deep) == 0);
    file_make("bottom", "reached\n");
    EXPECT(file_is("bottom", "reached\n") && unlink("bottom") == 0);
    for (int i = 0; i < 30; i++)
        EXPECT(chdir("..") == 0 && rmdir(deep) == 0);
    EXPECT(getcwd(now, sizeof now) && strcmp(now, place) == 0);
    /* One that is removed while it is used. */
    EXPECT(mkdir("gone", 0755) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
    EXPECT(!getcwd(now, sizeof now) && errno == ENOENT);
    EXPECT(open("file", O_CREAT | O_WRONLY, 0644) == -1 && errno == ENOENT);
    EXPECT(chdir(place) == 0);
}

static void long_paths_and_names(void)
{
    char path[PATH_MAX + 300], name[300];
    memset(name, 'n', 256);
    name[256] = '\0';
    EXPECT(open(name, O_CREAT | O_WRONLY, 0644) == -1 && errno == ENAMETOOLONG);
    name[255] = '\0';
    file_make(name, "");
    EXPECT(unlink(name) == 0);
    for (size_t at = 0; at < sizeof path - 2; at += 2)
        memcpy(path + at, "./", 3);
    EXPECT(access(path, F_OK) == -1 && errno == ENAMETOOLONG);
    path[PATH_MAX - 2] = '\0';
    EXPECT(access(path, F_OK) == 0);
    EXPECT(access("", F_OK) == -1 && errno == ENOENT);
}

static void changes_of_files_are_watched(void)
{
    char event[sizeof(struct inotify_event) + NAME_MAX + 1];
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    EXPECT(watch >= 0 && inotify_add_watch(watch, place, IN_CREATE) >= 0);
    file_make("seen", "");
    EXPECT(read(watch, event, sizeof event) > 0);
    EXPECT(strcmp(((struct inotify_event *)event)->name, "seen") == 0);
}

static void locks_and_maps_of_files(void)
{
    file_make("file", "0123456789");
    int one = open("file", O_RDWR | O_CLOEXEC), other = open("file", O_RDWR | O_CLOEXEC);
    EXPECT(one >= 0 && other >= 0 && flock(one, LOCK_EX) == 0);
    EXPECT(flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
    char *map = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, one, 0);
    EXPECT(map != MAP_FAILED);
    map[0] = 'X';
    EXPECT(msync(map, 10, MS_SYNC) == 0 && file_is("file", "X123456789"));
    struct statvfs system;
    EXPECT(statvfs(place, &system) == 0 && system.f_bsize > 0);
}

/* ---- programs ---- */

static void programs_start_in_every_way(void)
{
    char *arguments[] = {"another name", "started", "as asked", NULL};
    char *environment[] = {"ONLY=this", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        execve(self, arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    EXPECT((child = vfork()) >= 0);
    if (child == 0) {
        execve(self, arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    EXPECT(posix_spawn(&child, self, NULL, NULL, arguments, environment) == 0 && ended_well(child));
    EXPECT(posix_spawn_file_actions_init(&actions) == 0);
    EXPECT(posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) == 0);
    EXPECT(posix_spawn(&child, self, &actions, NULL, arguments, environment) == 0 && ended_well(child));
    EXPECT(posix_spawn(&child, "/no/such/program", NULL, NULL, arguments, environment) == ENOENT);
    EXPECT((child = fork()) >= 0);
    if (child == 0) {
        int file = open(self, O_RDONLY | O_CLOEXEC);
        fexecve(file, arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    EXPECT(execve("/etc/passwd", arguments, environment) == -1 && errno == EACCES);
    EXPECT(execve("/no/such/program", arguments, environment) == -1 && errno == ENOENT);
    EXPECT(execve("/etc", arguments, environment) == -1 && errno == EACCES);
}

static void scripts_start_by_their_interpreters(void)
{
    char text[PATH_MAX + 32], *arguments[] = {"ignored", "second", NULL}, *environment[] = {"ONLY=this", NULL};
    snprintf(text, sizeof text, "#!%s script-argument\nnot read\n", self);
    file_make("script", text);
    EXPECT(chmod("script", 0755) == 0);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        execve("./script", arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    /* An interpreter that is a script itself. */
    snprintf(text, sizeof text, "#!%s/script\n", place);
    file_make("outer", text);
    EXPECT(chmod("outer", 0755) == 0);
    EXPECT((child = fork()) >= 0);
    if (child == 0) {
        execve("./outer", arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    file_make("broken", "#!/no/interpreter\n");
    EXPECT(chmod("broken", 0755) == 0);
    EXPECT(execve("./broken", arguments, environment) == -1 && errno == ENOENT);
}

static void the_process_is_this_program(void)
{
    char text[PATH_MAX], command[PATH_MAX] = "";
    ssize_t size = readlink("/proc/self/exe", text, sizeof text - 1);
    EXPECT(size > 0);
    text[size] = '\0';
    EXPECT(strcmp(text, self) == 0);
    size = readlink("/proc/self/cwd", text, sizeof text - 1);
    EXPECT(size > 0);
    text[size] = '\0';
    EXPECT(strcmp(text, place) == 0);
    EXPECT(readlink("/proc/self/root", text, sizeof text) == 1 && text[0] == '/');
    EXPECT(file_is("/proc/self/comm", "image_probe\n"));
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    EXPECT(file >= 0 && read(file, command, sizeof command) > 0);
    EXPECT(strstr(command, "image_probe") && strcmp(command + strlen(command) + 1, "process") == 0);
    file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    snprintf(command, sizeof command, "/proc/self/fd/%d", file);
    size = readlink(command, text, sizeof text - 1);
    EXPECT(size == 11 && memcmp(text, "/etc/passwd", 11) == 0);
}

static void descriptors_close_at_exec(void)
{
    char number[16], *arguments[] = {"image_probe", "closed", number, NULL};
    int kept = open("/etc/passwd", O_RDONLY), closed = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    EXPECT(kept >= 0 && closed >= 0);
    snprintf(number, sizeof number, "%d", closed);
    pid_t child;
    EXPECT(posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0 && ended_well(child));
    EXPECT(close(kept) == 0 && close(closed) == 0);
}

/* ---- signals ---- */

static volatile sig_atomic_t heard, value, on_alternate;
static char alternate[65536];

static void hear(int number, siginfo_t *info, void *context)
{
    char here;
    (void)context;
    heard++;
    value = number >= SIGRTMIN ? info->si_value.sival_int : number;
    on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
    EXPECT(access("/etc/passwd", R_OK) == 0);
}

static void signals_reach_their_handlers(void)
{
    struct sigaction action = {.sa_sigaction = hear, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigset_t set;
    EXPECT(sigaltstack(&stack, NULL) == 0);
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP) {
            EXPECT(sigaction(number, &action, NULL) == 0);
            heard = 0;
            EXPECT(raise(number) == 0 && heard == 1 && value == number && on_alternate);
        }
    EXPECT(sigaction(SIGRTMIN, &action, NULL) == 0);
    heard = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    EXPECT(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int i = 1; i <= 5; i++)
        EXPECT(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0);
    EXPECT(heard == 0 && sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && heard == 5);
}

static void calls_are_interrupted_or_go_on(void)
{
    struct sigaction action = {.sa_sigaction = hear, .sa_flags = SA_SIGINFO};
    struct itimerval soon = {.it_value = {.tv_usec = 50000}};
    int ends[2];
    char byte;
    EXPECT(pipe(ends) == 0 && mkfifo("fifo", 0644) == 0);
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    EXPECT(read(ends[0], &byte, 1) == -1 && errno == EINTR);
    EXPECT(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    EXPECT(open("fifo", O_RDONLY) == -1 && errno == EINTR);
    action.sa_flags |= SA_RESTART;
    heard = 0;
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        usleep(200000);
        int file = open("fifo", O_WRONLY);
        _exit(file >= 0 && write(file, "y", 1) == 1 ? 0 : 1);
    }
    int file = open("fifo", O_RDONLY);
    EXPECT(file >= 0 && heard == 1 && read(file, &byte, 1) == 1 && byte == 'y' && ended_well(child));
}

static void masks_and_handlers_over_exec(void)
{
    char *arguments[] = {"image_probe", "inherited", NULL};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    EXPECT(signal(SIGUSR2, SIG_IGN) != SIG_ERR && sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        execve(self, arguments, environ);
        _exit(99);
    }
    EXPECT(ended_well(child));
}

/* ---- many at once ---- */

enum { THREADS = 8, TURNS = 200, FORKS = 300 };

static void *thread_work(void *number)
{
    char name[128];
    for (int i = 0; i < TURNS; i++) {
        struct stat info;
        snprintf(name, sizeof name, "%s/t%ld", place, (long)number);
        file_make(name, "thread");
        EXPECT(stat(name, &info) == 0 && info.st_size == 6 && unlink(name) == 0);
        if (i % 20 == 0) {
            pid_t child;
            char *arguments[] = {"image_probe", "nothing", NULL};
            EXPECT(posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0 && ended_well(child));
        }
    }
    return number;
}

static void threads_work_side_by_side(void)
{
    pthread_t threads[THREADS];
    pthread_attr_t small;
    EXPECT(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN + 16384) == 0);
    for (long i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], i % 2 ? &small : NULL, thread_work, (void *)i) == 0);
    for (long i = 0; i < THREADS; i++) {
        void *number;
        EXPECT(pthread_join(threads[i], &number) == 0 && (long)number == i);
    }
}

static void forks_by_the_hundred_at_once(void)
{
    pid_t children[FORKS];
    int ends[2];
    char byte;
    EXPECT(pipe(ends) == 0);
    for (int i = 0; i < FORKS; i++) {
        EXPECT((children[i] = fork()) >= 0);
        if (children[i] == 0) {
            close(ends[1]);
            EXPECT(read(ends[0], &byte, 1) == 0); /* until all are there */
            _exit(access("/etc/passwd", R_OK) || access(place, W_OK));
        }
    }
    EXPECT(close(ends[1]) == 0);
    for (int i = 0; i < FORKS; i++)
        EXPECT(ended_well(children[i]));
}

/* ---- sockets ---- */

static socklen_t address_set(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strcpy(address->sun_path, path);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

static void sockets_have_the_containers_names(void)
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

static void datagrams_go_to_names(void)
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

static void descriptors_pass_through_sockets(void)
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

/* ---- identity and limits ---- */

static void the_user_is_who_owns_its_files(void)
{
    struct stat info;
    uid_t real, effective, saved;
    file_make("mine", "");
    EXPECT(stat("mine", &info) == 0 && info.st_uid == geteuid() && info.st_gid == getegid());
    EXPECT(getresuid(&real, &effective, &saved) == 0 && real == effective && effective == saved);
    EXPECT(setuid(getuid()) == 0);
}

static void limits_hold(void)
{
    struct rlimit few = {40, 40};
    int files[40], count = 0;
    EXPECT(setrlimit(RLIMIT_NOFILE, &few) == 0);
    while (count < 40 && (files[count] = open("/etc/passwd", O_RDONLY)) >= 0)
        EXPECT(files[count++] < 40);
    EXPECT(errno == EMFILE);
    EXPECT(access("/etc/passwd", R_OK) == 0 && access("/etc/nothing", F_OK) == -1 && errno == ENOENT);
    while (count > 0)
        EXPECT(close(files[--count]) == 0);
    struct rlimit small = {4096, 4096};
    EXPECT(setrlimit(RLIMIT_FSIZE, &small) == 0 && signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    int file = open("big", O_WRONLY | O_CREAT, 0644);
    EXPECT(ftruncate(file, 4096) == 0 && ftruncate(file, 4097) == -1 && errno == EFBIG);
}

static const struct {
    const char *name;
    void (*check)(void);
} CHECKS[] = {
    {"files", files_are_made_and_changed},
    {"directories", calls_relative_to_directories},
    {"trees", trees_are_walked},
    {"cwd", the_working_directory_is_the_containers},
    {"long", long_paths_and_names},
    {"watch", changes_of_files_are_watched},
    {"locks", locks_and_maps_of_files},
    {"programs", programs_start_in_every_way},
    {"scripts", scripts_start_by_their_interpreters},
    {"process", the_process_is_this_program},
    {"descriptors", descriptors_close_at_exec},
    {"signals", signals_reach_their_handlers},
    {"interrupts", calls_are_interrupted_or_go_on},
    {"masks", masks_and_handlers_over_exec},
    {"threads", threads_work_side_by_side},
    {"forks", forks_by_the_hundred_at_once},
    {"sockets", sockets_have_the_containers_names},
    {"datagrams", datagrams_go_to_names},
    {"passing", descriptors_pass_through_sockets},
    {"identity", the_user_is_who_owns_its_files},
    {"limits", limits_hold},
};

/* ---- what the checks start this program for ---- */

static int started(int argc, char **argv)
{
    bool script = argc > 1 && strcmp(argv[1], "script-argument") == 0;
    const char *last = argv[argc - 1];
    bool as_asked = script ? strcmp(last, "second") == 0 : argc == 3 && strcmp(last, "as asked") == 0;
    bool named = script || strcmp(argv[0], "another name") == 0;
    return as_asked && named && environ[0] && strcmp(environ[0], "ONLY=this") == 0 && !environ[1] ? 0 : 1;
}

static int inherited(void)
{
    struct sigaction action;
    sigset_t set;
    EXPECT(sigaction(SIGUSR2, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    EXPECT(sigprocmask(SIG_BLOCK, NULL, &set) == 0 && sigismember(&set, SIGUSR1) && !sigismember(&set, SIGUSR2));
    return 0;
}

static int child_main(int argc, char **argv)
{
    if (strcmp(argv[1], "nothing") == 0)
        return 0;
    if (strcmp(argv[1], "inherited") == 0)
        return inherited();
    if (strcmp(argv[1], "closed") == 0)
        return fcntl(atoi(argv[2]), F_GETFD) == -1 && errno == EBADF ? 0 : 1;
    if (strcmp(argv[1], "started") == 0 || strcmp(argv[1], "script-argument") == 0)
        return started(argc, argv);
    printf("no such check: %s\n", argv[1]);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        if (strcmp(CHECKS[i].name, argv[1]) == 0) {
            char directory[] = "/tmp/probe-XXXXXX";
            EXPECT(realpath("/proc/self/exe", self) && mkdtemp(directory));
            EXPECT(chdir(directory) == 0 && getcwd(place, sizeof place));
            CHECKS[i].check();
            return 0;
        }
    return child_main(argc, argv);
}
