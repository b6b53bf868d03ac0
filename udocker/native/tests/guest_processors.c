/* How programs are scheduled, which they choose themselves, while their calls are brought to an engine: guest.h. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { CALLS = 2000, CHILDREN = 200, THREADS = 4, ROUNDS = 200 };

/* By a call site that is never rewritten, so that each comes to the engine by its own way. */
static void call_of_a_path(void)
{
    EXPECT(syscall(SYS_access, "/etc/passwd", F_OK) == 0);
}

static bool has(const cpu_set_t *wanted)
{
    cpu_set_t now;
    CPU_ZERO(&now);
    return sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, wanted) &&
           sched_getscheduler(0) == SCHED_OTHER;
}

static cpu_set_t all_of_them(void)
{
    cpu_set_t all;
    CPU_ZERO(&all);
    EXPECT(sched_getaffinity(0, sizeof all, &all) == 0);
    return all;
}

/* The one that stands at a place among those that there are. */
static cpu_set_t one_of(const cpu_set_t *all, int place)
{
    cpu_set_t one;
    int number = 0;
    CPU_ZERO(&one);
    for (int left = place % CPU_COUNT(all); left > 0 || !CPU_ISSET(number, all); number++)
        left -= CPU_ISSET(number, all) != 0;
    CPU_SET(number, &one);
    return one;
}

static void none_but_what_was_chosen(void)
{
    cpu_set_t all = all_of_them();
    for (int i = 0; i < CALLS; i++) {
        call_of_a_path();
        EXPECT(has(&all));
    }
    for (int i = 0; i < CPU_COUNT(&all); i++) {
        cpu_set_t one = one_of(&all, i);
        EXPECT(sched_setaffinity(0, sizeof one, &one) == 0);
        for (int call = 0; call < CALLS / 20; call++) {
            call_of_a_path();
            EXPECT(has(&one));
        }
    }
}

static void children_as_their_parents(void)
{
    cpu_set_t all = all_of_them();
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        call_of_a_path();
        pid_t child = fork();
        if (child == 0) {
            call_of_a_path();
            _exit(!has(&all));
        }
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
        EXPECT(has(&all));
    }
}

/* ---- threads, which the first one binds as runtimes of parallel programs do ---- */

struct member {
    pthread_t thread;
    atomic_int number; /* of the thread, when it runs */
    int place;
    const cpu_set_t *all;
};

static atomic_bool done;

static void *call_and_compare(void *argument)
{
    struct member *member = argument;
    cpu_set_t one = one_of(member->all, member->place);
    member->number = (int)syscall(SYS_gettid);
    while (!done)
        call_of_a_path();
    EXPECT(has(&one));
    return NULL;
}

static void threads_that_another_binds(void)
{
    cpu_set_t all = all_of_them();
    for (int round = 0; round < ROUNDS / THREADS; round++) {
        struct member members[THREADS];
        done = false;
        for (int i = 0; i < THREADS; i++) {
            struct member *member = &members[i];
            *member = (struct member){.place = round + i, .all = &all};
            EXPECT(pthread_create(&member->thread, NULL, call_and_compare, member) == 0);
            while (member->number == 0)
                sched_yield();
            cpu_set_t one = one_of(&all, member->place);
            EXPECT(sched_setaffinity(member->number, sizeof one, &one) == 0);
        }
        done = true;
        for (int i = 0; i < THREADS; i++)
            EXPECT(pthread_join(members[i].thread, NULL) == 0);
        EXPECT(has(&all));
    }
}

/* A policy stays, too: it is set by the number of the process. */
static void a_policy_of_its_own(void)
{
    struct sched_param none = {0};
    EXPECT(sched_setscheduler(getpid(), SCHED_BATCH | SCHED_RESET_ON_FORK, &none) == 0);
    for (int i = 0; i < CALLS / 20; i++) {
        call_of_a_path();
        EXPECT(sched_getscheduler(0) == (SCHED_BATCH | SCHED_RESET_ON_FORK));
    }
    EXPECT(sched_setscheduler(getpid(), SCHED_OTHER | SCHED_RESET_ON_FORK, &none) == 0);
    for (int i = 0; i < CALLS / 20; i++) {
        call_of_a_path();
        EXPECT(sched_getscheduler(0) == (SCHED_OTHER | SCHED_RESET_ON_FORK));
    }
}

static const struct check CHECKS[] = {
    {"chosen", none_but_what_was_chosen},
    {"children", children_as_their_parents},
    {"bound-threads", threads_that_another_binds},
    {"policy", a_policy_of_its_own},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
