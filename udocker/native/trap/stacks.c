/* Stacks for the engine's work.  The guest's own may be tiny: a goroutine's, a posix_spawn child's, an
 * alternate signal stack of the least size.
 *
 * A stack is claimed for one call.  Three may never give theirs back: a thread that another fork left
 * behind, a handler that jumps out of a call, and a vfork child whose execve succeeded.  The last, which every
 * shell and make does a thousand times, is mended by the kernel: it clears the word named by
 * set_tid_address(2) when the child leaves the memory that it shares with its parent.
 */

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "trap.h"

enum { STACK_COUNT = 256, STACK_SIZE = 128 * 1024 };

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

static char *const STACKS = (char *)0x7ea040000000;
static int claimed[STACK_COUNT]; /* 0 for a free one */

struct work {
    struct trapped *call;
    long result;
    int stack;
    int *tid_address; /* the guest's, while ours is in its place */
    bool has_address;
};

int stacks_map(void)
{
    long place = sys_call6(SYS_mmap, (long)STACKS, (long)STACK_COUNT * STACK_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return place < 0 && place > -4096 ? (int)place : 0;
}

static int stack_claim(void)
{
    for (;;) {
        for (int i = 0; i < STACK_COUNT; i++) {
            int free = 0;
            if (__atomic_load_n(&claimed[i], __ATOMIC_RELAXED) == 0 &&
                __atomic_compare_exchange_n(&claimed[i], &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return i;
        }
        sys_call0(SYS_sched_yield);
    }
}

/* Calls `function(argument)` on the stack that ends at `top`. */
__attribute__((visibility("hidden"))) void stack_switch(char *top, void (*function)(struct work *), struct work *argument);
__asm__(".text\n"
        ".globl stack_switch\n"
        ".hidden stack_switch\n"
        "stack_switch:\n"
        "    push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    mov %rdi, %rsp\n"
        "    mov %rdx, %rdi\n"
        "    call *%rsi\n"
        "    mov %rbp, %rsp\n"
        "    pop %rbp\n"
        "    ret\n");

static bool is_exec(long number)
{
    return number == SYS_execve || number == SYS_execveat;
}

/* The kernel frees the stack where execve succeeds in memory that others use too. */
static void tid_address_lend(struct work *work)
{
    int *address = NULL;
    work->has_address = sys_call2(SYS_prctl, PR_GET_TID_ADDRESS, &address) == 0;
    work->tid_address = address;
    if (work->has_address)
        sys_call1(SYS_set_tid_address, &claimed[work->stack]);
}

static void work_run(struct work *work)
{
    bool lends = is_exec(work->call->number);
    if (lends)
        tid_address_lend(work);
    work->result = engine_call(work->call);
    if (lends && work->has_address)
        sys_call1(SYS_set_tid_address, work->tid_address);
}

long stacks_run(struct trapped *call)
{
    struct work work = {.call = call, .stack = stack_claim()};
    stack_switch(STACKS + (size_t)(work.stack + 1) * STACK_SIZE - 64, work_run, &work);
    __atomic_store_n(&claimed[work.stack], 0, __ATOMIC_RELEASE);
    return work.result;
}
