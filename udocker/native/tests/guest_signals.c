/* Signals, stacks and threads, where an engine stands between a program and its kernel: guest.h. */

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest.h"
#include "guest_action.h"

#ifdef __i386__
enum { PLACE = REG_EIP, RESULT = REG_EAX };
#else
enum { PLACE = REG_RIP, RESULT = REG_RAX };
#endif

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static volatile sig_atomic_t heard;
static sigjmp_buf out;

static const char *fifo_make(void)
{
    static char name[] = "/tmp/fifoXXXXXX";
    strcpy(name, "/tmp/fifoXXXXXX");
    int file = mkstemp(name);
    EXPECT(file >= 0 && close(file) == 0 && unlink(name) == 0 && mkfifo(name, 0600) == 0);
    return name;
}

static void every(long microseconds)
{
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    EXPECT(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static void leave(int number)
{
    heard = number;
    siglongjmp(out, 1);
}

/* More often than an engine can have stacks. */
static void jumps_out_of_calls(void)
{
    const char *fifo = fifo_make();
    struct sigaction action = {.sa_handler = leave};
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
    for (volatile int i = 0; i < 600; i++) {
        if (sigsetjmp(out, 1) == 0) {
            struct itimerval timer = {{0, 0}, {0, 500}};
            EXPECT(setitimer(ITIMER_REAL, &timer, NULL) == 0);
            open(fifo, O_RDONLY);
            EXPECT(!"open returned");
        }
        EXPECT(access("/bin/busybox", F_OK) == 0);
    }
    unlink(fifo);
}

static char alternate[32768] __attribute__((aligned(64)));

/* As much of the stack as a frame of the kernel's leaves, so that whatever else is kept there is lost. */
static void fill(int number)
{
    volatile char block[12000];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)i;
    EXPECT((char *)block > alternate && (char *)block < alternate + sizeof alternate);
    EXPECT(access("/bin/busybox", F_OK) == 0);
    heard = heard + 1;
    (void)number;
}

static void on_alternate_stacks(void)
{
    const char *fifo = fifo_make();
    struct sigaction action = {.sa_handler = fill, .sa_flags = SA_ONSTACK};
    for (unsigned i = 0; i < 2; i++) {
        stack_t stack = {alternate, (int)(i ? SS_AUTODISARM : 0), sizeof alternate}, now;
        EXPECT(sigaltstack(&stack, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);
        every(2000);
        for (int count = 0; count < 20; count++)
            EXPECT(open(fifo, O_RDONLY) == -1 && errno == EINTR);
        every(0);
        EXPECT(sigaltstack(NULL, &now) == 0 && now.ss_size == sizeof alternate && now.ss_sp == alternate);
        EXPECT(!(now.ss_flags & SS_DISABLE));
    }
    EXPECT(heard >= 40);
    unlink(fifo);
}

static void *open_waiting(void *fifo)
{
    int file = open(fifo, O_RDONLY);
    EXPECT(file >= 0 && close(file) == 0);
    return NULL;
}

static void threads_that_wait_in_calls(void)
{
    const char *fifo = fifo_make();
    enum { COUNT = 400 };
    pthread_t threads[COUNT];
    pthread_attr_t small;
    EXPECT(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 65536) == 0);
    for (int i = 0; i < COUNT; i++)
        EXPECT(pthread_create(&threads[i], &small, open_waiting, (void *)fifo) == 0);
    for (int i = 0; i < 100; i++)
        EXPECT(access("/bin/busybox", F_OK) == 0 && sched_yield() == 0);
    int file = open(fifo, O_RDWR);
    EXPECT(file >= 0);
    for (int i = 0; i < COUNT; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    unlink(fifo);
}

static void hear(int number, siginfo_t *information, void *context)
{
    EXPECT(information->si_signo == number && information->si_code == SI_QUEUE);
    EXPECT(information->si_value.sival_int == number + 1000 && information->si_pid == getpid());
    EXPECT(((ucontext_t *)context)->uc_mcontext.gregs[PLACE] != 0);
    EXPECT(access("/bin/busybox", F_OK) == 0);
    heard = number;
}

static void every_signal(void)
{
    for (int number = 1; number < SIGRTMAX; number++) {
        struct sigaction action = {.sa_sigaction = hear, .sa_flags = SA_SIGINFO}, old;
        union sigval value = {.sival_int = number + 1000};
        if (number == SIGKILL || number == SIGSTOP || (number > SIGSYS && number < SIGRTMIN))
            continue;
        EXPECT(sigaction(number, &action, NULL) == 0);
        EXPECT(sigaction(number, NULL, &old) == 0 && old.sa_sigaction == hear && (old.sa_flags & SA_SIGINFO));
        EXPECT(sigqueue(getpid(), number, value) == 0 && heard == number);
        action.sa_handler = SIG_IGN;
        action.sa_flags = 0;
        EXPECT(sigaction(number, &action, NULL) == 0 && sigqueue(getpid(), number, value) == 0);
        EXPECT(sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_IGN);
    }
}

static void count(int number)
{
    (void)number;
    heard = heard + 1;
}

static void *write_later(void *fifo)
{
    usleep(60000);
    int file = open(fifo, O_WRONLY);
    EXPECT(file >= 0);
    return NULL;
}

static void calls_that_go_on_after_a_signal(void)
{
    const char *fifo = fifo_make();
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    pthread_t writer;
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0 && pthread_sigmask(SIG_BLOCK, &alarm, NULL) == 0);
    EXPECT(pthread_create(&writer, NULL, write_later, (void *)fifo) == 0);
    EXPECT(pthread_sigmask(SIG_UNBLOCK, &alarm, NULL) == 0);
    every(5000);
    int file = open(fifo, O_RDONLY);
    EXPECT(file >= 0 && heard > 1);
    every(0);
    EXPECT(pthread_join(writer, NULL) == 0);
    unlink(fifo);
}

static void on_filter(int number, siginfo_t *information, void *context)
{
    EXPECT(number == SIGSYS && information->si_code == 1 /* SYS_SECCOMP */ && information->si_errno == 77);
    ((ucontext_t *)context)->uc_mcontext.gregs[RESULT] = 4242;
}

/* A sandbox of the guest's own: one call of those that an engine has no business with, and one that it has. */
static void a_filter_of_its_own(void)
{
    struct sock_filter lines[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
        {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, SYS_getppid},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_mkdir},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP | 77},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
    struct sigaction action = {.sa_sigaction = on_filter, .sa_flags = SA_SIGINFO};
    EXPECT(sigaction(SIGSYS, &action, NULL) == 0);
    EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    EXPECT(syscall(SYS_getppid) == 4242);
    EXPECT(syscall(SYS_mkdir, "/tmp/none", 0700) == 4242);
    EXPECT(access("/bin/busybox", F_OK) == 0);
}

static int child_exec(void *argument)
{
    char *arguments[] = {"true", NULL}, *environment[] = {NULL};
    execve("/no/such/program", arguments, environment);
    execve(argument, arguments, environment);
    return 1;
}

static void children_that_share_memory(void)
{
    char *stack = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status;
    EXPECT(stack != MAP_FAILED);
    for (int i = 0; i < 200; i++) {
        pid_t child = i % 2 ? clone(child_exec, stack + 16384, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)"/bin/true")
                            : vfork();
        if (child == 0)
            _exit(child_exec((void *)"/bin/true"));
        EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
}

static void *spawn_many(void *unused)
{
    char *arguments[] = {"true", NULL}, *environment[] = {NULL};
    int status;
    for (int i = 0; i < 40; i++) {
        pid_t child;
        if (i % 2) {
            EXPECT(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environment) == 0);
        } else if ((child = fork()) == 0) {
            execve("/bin/true", arguments, environment);
            _exit(9);
        }
        EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    return unused;
}

static void threads_that_start_programs(void)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        EXPECT(pthread_create(&threads[i], NULL, spawn_many, NULL) == 0);
    for (int i = 0; i < 8; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
}

/* As a C library cancels a thread: only where it waits at this very `syscall`. */
extern const char cancel_begin[], cancel_end[], cancelled[];
long cancellable(long number, const char *path, long flags);
#ifdef __i386__
__asm__(".text\n"
        "cancellable: push %ebx; mov 8(%esp), %eax; mov 12(%esp), %ebx; mov 16(%esp), %ecx\n"
        "cancel_begin: int $0x80\n"
        "cancel_end: pop %ebx; ret\n"
        "cancelled: mov $-77, %eax; pop %ebx; ret\n");
#else
__asm__(".text\n"
        "cancellable: mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi\n"
        "cancel_begin: syscall\n"
        "cancel_end: ret\n"
        "cancelled: mov $-77, %rax; ret\n");
#endif

static void cancel(int number, siginfo_t *information, void *context)
{
    greg_t *place = &((ucontext_t *)context)->uc_mcontext.gregs[PLACE];
    EXPECT(number == 33 && information->si_pid == getpid());
    if (*place >= (greg_t)cancel_begin && *place < (greg_t)cancel_end)
        *place = (greg_t)cancelled;
    heard = heard + 1;
}

static void *cancel_main(void *unused)
{
    while (!heard) /* until the handler is there; a C library may set its own when it makes a thread */
        sched_yield();
    (void)unused;
    for (int i = 0; i < 300; i++) {
        usleep(1000);
        EXPECT(syscall(SYS_tgkill, getpid(), getpid(), 33) == 0);
    }
    return NULL;
}

static void calls_that_are_cancelled(void)
{
    const char *fifo = fifo_make();
    struct kernel_action action = {(void *)cancel, SA_SIGINFO | SA_RESTART | 0x04000000 /* SA_RESTORER */,
                                   (void *)restore, 0},
                         old;
    pthread_t other;
    EXPECT(pthread_create(&other, NULL, cancel_main, NULL) == 0);
    EXPECT(syscall(SYS_rt_sigaction, 33, &action, NULL, 8) == 0);
    EXPECT(syscall(SYS_rt_sigaction, 33, NULL, &old, 8) == 0 && old.handler == (void *)cancel);
    heard = 1;
    for (int i = 0; i < 100; i++)
        EXPECT(cancellable(SYS_open, fifo, O_RDONLY) == -77);
    /* Elsewhere the signal changes nothing. */
    for (int i = 0; i < 20000; i++)
        EXPECT(access("/bin/busybox", F_OK) == 0);
    EXPECT(pthread_join(other, NULL) == 0 && heard >= 100);
    unlink(fifo);
}

static void use_much(int number)
{
    volatile char block[300000];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)number;
    heard = heard + 1;
}

/* On whatever stack it runs, with others that are in use beside it. */
static void handlers_that_need_room(void)
{
    const char *fifo = fifo_make();
    struct sigaction action = {.sa_handler = use_much};
    pthread_t others[3];
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    EXPECT(pthread_sigmask(SIG_BLOCK, &alarm, NULL) == 0);
    for (int i = 0; i < 3; i++)
        EXPECT(pthread_create(&others[i], NULL, open_waiting, (void *)fifo) == 0);
    usleep(20000);
    EXPECT(pthread_sigmask(SIG_UNBLOCK, &alarm, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);
    every(2000);
    for (int i = 0; i < 10; i++)
        EXPECT(open(fifo, O_RDONLY) == -1 && errno == EINTR);
    every(0);
    int file = open(fifo, O_RDWR);
    for (int i = 0; i < 3; i++)
        EXPECT(pthread_join(others[i], NULL) == 0);
    EXPECT(file >= 0 && heard >= 10);
    unlink(fifo);
}

static const struct check CHECKS[] = {
    {"jumps", jumps_out_of_calls},
    {"alternate", on_alternate_stacks},
    {"waiting", threads_that_wait_in_calls},
    {"every-signal", every_signal},
    {"restart", calls_that_go_on_after_a_signal},
    {"filter", a_filter_of_its_own},
    {"room", handlers_that_need_room},
    {"cancel", calls_that_are_cancelled},
    {"shared-memory", children_that_share_memory},
    {"starting-threads", threads_that_start_programs},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
