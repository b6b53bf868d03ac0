/* Signals, threads, and many processes at once. */

#include "probe.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/time.h>

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

void signals_reach_their_handlers(void)
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

void calls_are_interrupted_or_go_on(void)
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

void masks_and_handlers_over_exec(void)
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

void threads_work_side_by_side(void)
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

void forks_by_the_hundred_at_once(void)
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

static void *thread_wait(void *end)
{
    char byte;
    return read(*(int *)end, &byte, 1) == 0 ? end : NULL;
}

/* A child that shares memory resets its handlers; the C library's own signal for such calls still has its handler. */
void every_thread_changes_its_user(void)
{
    char *arguments[] = {"image_probe", "nothing", NULL};
    int ends[2];
    void *result;
    pthread_t thread;
    pid_t child;
    EXPECT(pipe(ends) == 0 && pthread_create(&thread, NULL, thread_wait, &ends[0]) == 0);
    EXPECT(posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0 && ended_well(child));
    EXPECT(setuid(getuid()) == 0 && setgid(getgid()) == 0);
    EXPECT(close(ends[1]) == 0 && pthread_join(thread, &result) == 0 && result == &ends[0]);
}
