/* A program that is hard on an engine which shares its process: "workload work ROUNDS" does everything at once in
 * threads, "workload crowd COUNT" keeps many processes alive.  Status 0, or a line that tells what was wrong.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_THREADS = 4, STACK = 128 * 1024 };

extern char **environ;

static int rounds;
static const char *self;
static pthread_t threads[FILE_THREADS];
static atomic_int heard, running;

#define EXPECT(condition)                                                        \
    do {                                                                         \
        if (!(condition)) {                                                      \
            dprintf(1, "%s:%d: %s (errno %d)\n", __func__, __LINE__, #condition, errno); \
            _exit(1);                                                            \
        }                                                                        \
    } while (0)

/* In a handler, amid any call of the thread that it interrupts. */
static void hear(int number)
{
    int error = errno;
    struct stat info;
    EXPECT(number == SIGUSR1 || number == SIGALRM);
    EXPECT(stat("/etc/passwd", &info) == 0 && S_ISREG(info.st_mode));
    heard++;
    errno = error;
}

/* Names of the thread's own, in a directory that all of them use. */
static void *use_files(void *argument)
{
    char one[64], other[64], text[64], name[64];
    long number = (long)argument;
    struct stat info;
    snprintf(one, sizeof one, "/tmp/%d-%ld-one", getpid(), number);
    snprintf(other, sizeof other, "/tmp/./%d-%ld-other", getpid(), number);
    snprintf(name, sizeof name, "%d-%ld-one", getpid(), number);
    for (int i = 0; i < rounds; i++) {
        int file = open(one, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        EXPECT(file >= 0 && write(file, one, sizeof one) == sizeof one);
        EXPECT(pread(file, text, sizeof text, 0) == sizeof text && strcmp(text, one) == 0 && close(file) == 0);
        EXPECT(stat(name, &info) == 0 && info.st_size == sizeof one);
        EXPECT(rename(one, other) == 0 && access(one, F_OK) == -1 && errno == ENOENT);
        EXPECT(symlink(other, one) == 0 && readlink(one, text, sizeof text) == (ssize_t)strlen(other));
        EXPECT(stat(one, &info) == 0 && S_ISREG(info.st_mode) && lstat(one, &info) == 0 && S_ISLNK(info.st_mode));
        EXPECT(unlink(one) == 0 && unlink(other) == 0);
        EXPECT(getcwd(text, sizeof text) && strcmp(text, "/tmp") == 0);
    }
    running--;
    return NULL;
}

static void expect_child(pid_t child, int wanted)
{
    int status;
    pid_t ended;
    EXPECT(child > 0);
    while ((ended = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        ;
    EXPECT(ended == child && status == wanted);
}

static __attribute__((noinline)) pid_t share_and_run(char **arguments)
{
    pid_t child = vfork();
    if (child == 0) {
        execv(self, arguments);
        _exit(1);
    }
    return child;
}

/* Children in every way that there is to get one. */
static void *have_children(void *unused)
{
    char *arguments[] = {"workload", "child", NULL};
    for (int i = 0; i < rounds / 4; i++) {
        pid_t child;
        EXPECT(posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0);
        expect_child(child, 42 << 8);
        if ((child = fork()) == 0)
            _exit(access("/etc/passwd", R_OK) == 0 ? 7 : 1);
        expect_child(child, 7 << 8);
        expect_child(share_and_run(arguments), 42 << 8);
        if ((child = fork()) == 0) {
            execl("/bin/sh", "sh", "-c", "kill -9 $$", NULL);
            _exit(1);
        }
        expect_child(child, SIGKILL);
    }
    running--;
    return unused;
}

static void *send_signals(void *unused)
{
    while (running > 0) {
        for (int i = 0; i < FILE_THREADS; i++)
            EXPECT(pthread_kill(threads[i], SIGUSR1) == 0);
        poll(NULL, 0, 1);
    }
    return unused;
}

static int work(void)
{
    struct sigaction action = {.sa_handler = hear, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 3000}, {0, 3000}}, none = {{0, 0}, {0, 0}};
    pthread_attr_t attributes;
    pthread_t parent, sender;
    EXPECT(chdir("/tmp") == 0);
    EXPECT(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);
    EXPECT(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, STACK) == 0);
    running = FILE_THREADS + 1;
    EXPECT(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    for (long i = 0; i < FILE_THREADS; i++)
        EXPECT(pthread_create(&threads[i], &attributes, use_files, (void *)i) == 0);
    EXPECT(pthread_create(&parent, &attributes, have_children, NULL) == 0);
    EXPECT(pthread_create(&sender, &attributes, send_signals, NULL) == 0);
    EXPECT(pthread_join(sender, NULL) == 0 && pthread_join(parent, NULL) == 0);
    for (int i = 0; i < FILE_THREADS; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    EXPECT(setitimer(ITIMER_REAL, &none, NULL) == 0 && heard > 0);
    return 0;
}

/* One of a crowd: tells that it is there, and ends when its parent does. */
static int member(void)
{
    char byte = access("/etc/passwd", R_OK) == 0 ? '+' : '-';
    EXPECT(write(1, &byte, 1) == 1);
    return read(0, &byte, 1) == 0 ? 0 : 1;
}

static int crowd(int count)
{
    int ready[2], end[2], alive = 0;
    char byte;
    char *arguments[] = {"workload", "member", NULL};
    posix_spawn_file_actions_t actions;
    EXPECT(pipe2(ready, O_CLOEXEC) == 0 && pipe2(end, O_CLOEXEC) == 0);
    EXPECT(posix_spawn_file_actions_init(&actions) == 0);
    EXPECT(posix_spawn_file_actions_adddup2(&actions, end[0], 0) == 0);
    EXPECT(posix_spawn_file_actions_adddup2(&actions, ready[1], 1) == 0);
    for (int i = 0; i < count; i++) {
        pid_t child;
        EXPECT(posix_spawn(&child, self, &actions, NULL, arguments, environ) == 0);
    }
    while (alive < count && read(ready[0], &byte, 1) == 1 && byte == '+')
        alive++;
    printf("%d alive\n", alive);
    fflush(stdout);
    /* Whoever watches has until it closes this. */
    EXPECT(read(0, &byte, 1) == 0 && alive == count);
    close(end[1]);
    for (int i = 0, status; i < count; i++)
        EXPECT(wait(&status) > 0 && status == 0);
    return 0;
}

int main(int argc, char **argv)
{
    self = "/bin/workload";
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return access("/etc/passwd", R_OK) == 0 ? 42 : 1;
    if (argc > 1 && strcmp(argv[1], "member") == 0)
        return member();
    if (argc != 3)
        return 2;
    rounds = atoi(argv[2]);
    return strcmp(argv[1], "crowd") == 0 ? crowd(rounds) : work();
}
