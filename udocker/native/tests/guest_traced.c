/* What a program finds under a tracer that it does not know of: guest.h. */

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static bool is_stopped_by(pid_t child, int signal)
{
    int status;
    return waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == signal;
}

static bool has_ended_well(pid_t child)
{
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The tracer that they do not see gives their children up: ptrace(2). */
static void programs_that_want_to_trace(void)
{
    pid_t child = fork();
    if (child == 0) {
        bool asked = ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 && ptrace(PTRACE_TRACEME, 0, 0, 0) == -1 && errno == EPERM;
        raise(SIGSTOP);
        execl("/bin/busybox", asked ? "true" : "false", NULL);
    }
    EXPECT(is_stopped_by(child, SIGSTOP) && ptrace(PTRACE_CONT, child, 0, 0) == 0);
    EXPECT(is_stopped_by(child, SIGTRAP) && ptrace(PTRACE_CONT, child, 0, 0) == 0);
    EXPECT(has_ended_well(child));
}

static void *wait_for_ever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

/* A child with threads that runs already, which sees files as before when it goes on. */
static void programs_that_attach(void)
{
    int ready[2], go[2];
    char byte;
    EXPECT(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bool runs = pthread_create(&thread, NULL, wait_for_ever, NULL) == 0 && write(ready[1], "r", 1) == 1;
        bool went = read(go[0], &byte, 1) == 1;
        _exit(runs && went && access("/bin/busybox", F_OK) == 0 && access("/bin/none", F_OK) == -1 ? 0 : 1);
    }
    EXPECT(read(ready[0], &byte, 1) == 1);
    EXPECT(ptrace(PTRACE_SEIZE, child, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, child, 0, 0) == 0);
    EXPECT(is_stopped_by(child, SIGTRAP) && ptrace(PTRACE_DETACH, child, 0, 0) == 0);
    EXPECT(ptrace(PTRACE_ATTACH, child, 0, 0) == 0);
    EXPECT(is_stopped_by(child, SIGSTOP) && ptrace(PTRACE_DETACH, child, 0, 0) == 0);
    EXPECT(ptrace(PTRACE_SEIZE, getpid(), 0, 0) == -1 && errno == EPERM);
    EXPECT(write(go[1], "g", 1) == 1 && has_ended_well(child));
}

/* SECCOMP_RET_TRACE without a tracer is ENOSYS: seccomp(2). */
static void a_filter_that_asks_for_a_tracer(void)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 7),
    };
    struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
    EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    EXPECT(syscall(SYS_getppid) == -1 && errno == ENOSYS);
    EXPECT(syscall(SYS_mkdir, "/tmp/made", 0700) == -1 && errno == ENOSYS);
    EXPECT(access("/tmp/made", F_OK) == -1 && access("/bin/busybox", F_OK) == 0);
}

/* Filters that make calls of the engine's fail, or say that they were made. */
static void filters_that_keep_calls_from_the_engine(void)
{
    static const int numbers[] = {SYS_gettid, SYS_tgkill, SYS_getpid}, answers[] = {0, EPERM, 1};
    for (int i = 0; i < 9; i++) {
        pid_t child = fork();
        if (child == 0) {
            struct sock_filter lines[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)numbers[i % 3], 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)answers[i / 3]),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
            EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
            EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
            for (int times = 0; times < 20; times++)
                EXPECT(access("/inside", F_OK) == 0 && access("/usr", F_OK) == -1);
            execl("/bin/busybox", "test", "-e", "/inside", NULL);
        }
        EXPECT(has_ended_well(child));
    }
}

static long i386_call(long number, long one)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(one), "c"(0) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

/* A child that no tracer would follow, a filter that lets calls go on unseen, and calls of 32-bit numbers, which are
 * those of 32-bit programs. */
static void ways_past_the_tracer(void)
{
    EXPECT(syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0) == -1 && errno == EPERM);
    struct sock_filter line = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &line};
    EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    EXPECT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 8 /* SECCOMP_FILTER_FLAG_NEW_LISTENER */, &program) == -1 &&
           errno == EINVAL);
    EXPECT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
    char *path = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    EXPECT(path != MAP_FAILED && strcpy(path, "/etc/passwd"));
    EXPECT(i386_call(5 /* open */, (long)path) == -ENOSYS);
    EXPECT(i386_call(120 /* clone */, CLONE_UNTRACED | SIGCHLD) == -EPERM);
    EXPECT(i386_call(425 /* io_uring_setup */, 1) == -ENOSYS);
    EXPECT(i386_call(20 /* getpid */, 0) == getpid());
}

static void *execute(void *unused)
{
    usleep(50000); /* until the other thread waits */
    execl("/bin/cat", "cat", "/etc/passwd", NULL);
    return unused;
}

/* The thread that executes a program takes the number of the one that waits for it. */
static void a_thread_that_executes_a_program(void)
{
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, execute, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT(!"it was executed");
}

static const struct check CHECKS[] = {
    {"tracing", programs_that_want_to_trace},
    {"attaching", programs_that_attach},
    {"filter", a_filter_that_asks_for_a_tracer},
    {"silenced", filters_that_keep_calls_from_the_engine},
    {"untraced", ways_past_the_tracer},
    {"executing-thread", a_thread_that_executes_a_program},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
