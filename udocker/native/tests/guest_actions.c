/* Signal actions of processes that share memory but have actions of their own, as vfork(2) and posix_spawn(3) make
 * them: guest.h.  The actions asked about are those of signals that an engine may handle itself. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "guest_action.h"

static const int NUMBERS[] = {SIGSYS, 32, 33, SIGUSR1};
enum { COUNT = sizeof NUMBERS / sizeof *NUMBERS, STACK = 65536, RESTORER = 0x04000000 };

static volatile int heard[65], heard_by_child, may_send, must_end;

static void hear(int number)
{
    __atomic_add_fetch(&heard[number], 1, __ATOMIC_RELAXED);
}

static void hear_in_child(int number)
{
    (void)number;
    __atomic_add_fetch(&heard_by_child, 1, __ATOMIC_RELAXED);
}

static int act(int number, const struct kernel_action *new, struct kernel_action *old)
{
    return (int)syscall(SYS_rt_sigaction, number, new, old, 8);
}

static void act_all(void *handler, unsigned long flags)
{
    struct kernel_action action = {handler, flags | RESTORER, RESTORE(flags), 1ull << (SIGALRM - 1)};
    for (int i = 0; i < COUNT; i++)
        EXPECT(act(NUMBERS[i], &action, NULL) == 0);
}

static void expect_all(void *handler, unsigned long flags)
{
    struct kernel_action now;
    for (int i = 0; i < COUNT; i++) {
        EXPECT(act(NUMBERS[i], NULL, &now) == 0 && now.handler == handler);
        EXPECT(now.flags == (flags | RESTORER) && now.restorer == RESTORE(flags));
        EXPECT(now.mask == 1ull << (SIGALRM - 1));
    }
}

static void send_all(void)
{
    for (int i = 0; i < COUNT; i++)
        EXPECT(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), NUMBERS[i]) == 0);
}

static char *stack_make(void)
{
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(stack != MAP_FAILED);
    return stack + STACK;
}

static int child_ignore(void *unused)
{
    (void)unused;
    expect_all((void *)hear, SA_RESTART);
    act_all(SIG_IGN, 0);
    expect_all(SIG_IGN, 0);
    send_all();
    act_all(SIG_DFL, 0);
    act_all((void *)hear_in_child, SA_NODEFER);
    send_all();
    return heard_by_child % COUNT;
}

/* A child with a child of its own: what the inner one sets is neither's. */
static int child_nest(void *unused)
{
    int status;
    act_all((void *)hear, SA_RESTART);
    pid_t child = clone(child_ignore, stack_make(), CLONE_VM | CLONE_VFORK | SIGCHLD, unused);
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    expect_all((void *)hear, SA_RESTART);
    return child_ignore(unused);
}

/* With CLONE_SIGHAND it is one table. */
static int child_share(void *unused)
{
    (void)unused;
    act_all((void *)hear_in_child, SA_RESTART);
    return 0;
}

static void child_run(int (*child)(void *), int flags)
{
    int status;
    pid_t process = clone(child, stack_make(), CLONE_VM | CLONE_VFORK | SIGCHLD | flags, NULL);
    EXPECT(process > 0 && waitpid(process, &status, 0) == process && status == 0);
}

static void children_with_actions_of_their_own(void)
{
    act_all((void *)hear, SA_RESTART);
    for (int i = 0; i < 200; i++) {
        int before = heard_by_child;
        child_run(i % 2 ? child_ignore : child_nest, 0);
        EXPECT(heard_by_child == before + (i % 2 ? 1 : 2) * COUNT);
        expect_all((void *)hear, SA_RESTART);
        send_all();
        for (int k = 0; k < COUNT; k++)
            EXPECT(heard[NUMBERS[k]] == i + 1);
    }
}

static void children_that_share_actions(void)
{
    act_all((void *)hear, SA_RESTART);
    child_run(child_share, CLONE_SIGHAND);
    expect_all((void *)hear_in_child, SA_RESTART);
    send_all();
    EXPECT(heard_by_child == COUNT);
}

static void *thread_listen(void *unused)
{
    while (!may_send)
        sched_yield();
    while (!must_end)
        send_all();
    return unused;
}

/* Another thread of the parent gets signals while the children set theirs. */
static void threads_beside_such_children(void)
{
    pthread_t thread;
    act_all((void *)hear, SA_RESTART);
    EXPECT(pthread_create(&thread, NULL, thread_listen, NULL) == 0);
    act_all((void *)hear, SA_RESTART); /* a C library may set its own when it makes a thread */
    may_send = 1;
    for (int i = 0; i < 500; i++)
        child_run(child_ignore, 0);
    EXPECT(heard_by_child == 500 * COUNT);
    must_end = 1;
    EXPECT(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < COUNT; i++)
        EXPECT(heard[NUMBERS[i]] > 0 && heard[NUMBERS[i]] == heard[NUMBERS[0]]);
    expect_all((void *)hear, SA_RESTART);
}

static int child_vanish(void *unused)
{
    EXPECT(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    act_all(SIG_IGN, 0);
    while (!must_end)
        pause();
    return unused != NULL;
}

/* A child that goes on beside its parent, and ends in the middle of things. */
static void a_child_that_is_killed(void)
{
    int status;
    act_all((void *)hear, SA_RESTART);
    pid_t child = clone(child_vanish, stack_make(), CLONE_VM | SIGCHLD, NULL);
    EXPECT(child > 0);
    usleep(50000);
    send_all();
    EXPECT(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
    send_all();
    EXPECT(heard[SIGSYS] == 2 && heard[33] == 2);
    expect_all((void *)hear, SA_RESTART);
}

/* Handlers that are set for one signal. */
static void actions_for_once(void)
{
    struct kernel_action now;
    act_all((void *)hear, SA_RESETHAND);
    send_all();
    for (int i = 0; i < COUNT; i++) {
        EXPECT(heard[NUMBERS[i]] == 1);
        EXPECT(act(NUMBERS[i], NULL, &now) == 0 && now.handler == SIG_DFL);
    }
}

static const struct check CHECKS[] = {
    {"own", children_with_actions_of_their_own},
    {"shared", children_that_share_actions},
    {"beside", threads_beside_such_children},
    {"killed", a_child_that_is_killed},
    {"once", actions_for_once},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
