/* Stacks for the engine's work.  The guest's own may be tiny: a goroutine's, a posix_spawn child's, an
 * alternate signal stack of the least size.
 *
 * A stack is claimed for one call.  Some never give theirs back: a handler that jumps out of a call, a thread
 * that ends in one or that a fork left behind, and a vfork child whose execve succeeded.  The last, which every
 * shell and make does a thousand times, is mended by the kernel: it clears the word named by
 * set_tid_address(2) when the child leaves the memory that it shares with its parent.  The others are looked for
 * when no stack is free; then, as many threads may wait in calls, there are more stacks.
 */

#include <elf.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <ucontext.h>

#include "i386.h"
#include "stacks.h"

/* A guest's signal handler that interrupts a call runs on the call's stack, so there is more room than the engine
 * needs; and a gap that a stack which is too short runs into, wider than any function's frame. */
enum { STACK_SIZE = 512 * 1024, GAP = 64 * 1024, CHUNK = 16, STACK_MOST = 8192, FSGSBASE = 2 /* of AT_HWCAP2 */ };

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

extern const char trap_start[] __attribute__((visibility("hidden")));

enum { FREE = 0, CLAIMED, LIVE /* seen to be so, while stacks are collected */ };
static struct {
    int state;
    bool is_open; /* its memory may be used */
    uintptr_t thread;
    const char *guest;          /* its stack when it called */
    const struct visit *visit; /* of a call that trapped */
} claims[STACK_MOST] __attribute__((section(".bss.stacks")));
static HOT int stack_count;
static HOT bool has_fsgsbase;

/* Where a stack ends.  They lie right before the engine, one below the other: behind it the heap grows, where the
 * kernel could not be told of a better place. */
static char *stack_top(int stack)
{
    return (char *)((uintptr_t)trap_start - (size_t)stack * STACK_SIZE);
}

static int room_map(char *wanted, long size, int protection)
{
    long place = sys_call6(SYS_mmap, (long)wanted, size, protection,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | 0x100000 /* MAP_FIXED_NOREPLACE */, -1, 0);
    if (place == (long)wanted || place == -EEXIST)
        return 0;
    if (place < 0 && place > -4096)
        return (int)place;
    sys_call2(SYS_munmap, place, size); /* a kernel before 4.17 takes the address for a wish */
    return -EEXIST;
}

int stacks_map(const unsigned long *auxiliary)
{
    for (const unsigned long *entry = auxiliary; entry && entry[0] != AT_NULL; entry += 2)
        if (entry[0] == AT_HWCAP2)
            has_fsgsbase = entry[1] & FSGSBASE;
    int result = room_map(stack_top(1) + GAP, STACK_SIZE - GAP, PROT_READ | PROT_WRITE);
    stack_count = result == 0;
    return result;
}

/* Something that no other thread of the process has: where its own data lies. */
static uintptr_t thread_self(void)
{
    uintptr_t base;
    if (!has_fsgsbase || engine.i386) /* whose data another register leads to */
        return (uintptr_t)sys_call0(SYS_gettid);
    __asm__ volatile("rdfsbase %0" : "=r"(base));
    return base;
}

/* ---- stacks that nobody gives back ---- */

/* A vfork child shares its parent's memory, and must not judge of the parent's stacks: 0 for one, more for a process
 * with memory of its own, -errno where the kernel does not tell. */
static long memory_is_own(void)
{
    return sys_call5(SYS_kcmp, sys_call0(SYS_getpid), sys_call0(SYS_getppid), KCMP_VM, 0, 0);
}

static bool is_only_thread(void)
{
    struct stat info;
    /* "." and "..", and one for each thread: proc(5) */
    return sys_call2(SYS_stat, "/proc/self/task", &info) == 0 && info.st_nlink == 3;
}

bool stacks_are_alone(void)
{
    return memory_is_own() != 0 && is_only_thread();
}

static bool is_on_alternate(const char *at)
{
    stack_t alternate;
    const char *start;
    if (sys_call2(SYS_sigaltstack, NULL, &alternate) < 0)
        return true;
    start = alternate.ss_sp;
    return !(alternate.ss_flags & SS_DISABLE) && at >= start && at < start + alternate.ss_size;
}

static int stack_of(const char *at)
{
    uintptr_t end = (uintptr_t)trap_start, place = (end - 1 - (uintptr_t)at) / STACK_SIZE;
    return (uintptr_t)at < end && place < (uintptr_t)stack_count ? (int)place : -1;
}

/* Frees what this thread jumped out of, and what threads left that are no more.  A handler of the guest that
 * interrupted a call runs on the call's stack, or on the alternate one, which does not tell of what. */
static bool stacks_collect(const char *guest)
{
    bool found = false;
    uintptr_t self = thread_self();
    long memory = memory_is_own();
    if (memory == 0)
        return false;
    for (int i = stack_of(guest); i >= 0 && claims[i].state != LIVE; i = stack_of(guest)) {
        claims[i].state = LIVE;
        guest = claims[i].guest;
    }
    bool own = !is_on_alternate(guest), others = own && memory > 0 && is_only_thread();
    for (int i = 0; i < stack_count; i++)
        if (claims[i].state == CLAIMED && (claims[i].thread == self ? own : others)) {
            __atomic_store_n(&claims[i].state, FREE, __ATOMIC_RELEASE);
            found = true;
        } else if (claims[i].state == LIVE && claims[i].thread == self) {
            claims[i].state = CLAIMED;
        }
    return found;
}

static bool stacks_grow(int count)
{
    if (count + CHUNK > STACK_MOST || room_map(stack_top(count + CHUNK), (long)CHUNK * STACK_SIZE, PROT_NONE) < 0)
        return false;
    __atomic_compare_exchange_n(&stack_count, &count, count + CHUNK, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return true;
}

static bool stack_open(int stack)
{
    const char *start = stack_top(stack + 1);
    if (stack == 0)
        return true; /* mapped so: stacks_map */
    if (!claims[stack].is_open)
        claims[stack].is_open =
            sys_call3(SYS_mprotect, start + GAP, STACK_SIZE - GAP, PROT_READ | PROT_WRITE) == 0;
    return claims[stack].is_open;
}

static int stack_claim(const char *guest)
{
    for (;;) {
        int count = __atomic_load_n(&stack_count, __ATOMIC_ACQUIRE);
        for (int i = 0; i < count; i++) {
            int free = FREE;
            /* Of the first without a look: it would bring in a page that is then exchanged for one to write to. */
            if ((i == 0 || __atomic_load_n(&claims[i].state, __ATOMIC_RELAXED) == FREE) &&
                __atomic_compare_exchange_n(&claims[i].state, &free, CLAIMED, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
                claims[i].thread = thread_self();
                claims[i].guest = guest;
                claims[i].visit = NULL;
                if (stack_open(i))
                    return i;
                __atomic_store_n(&claims[i].state, FREE, __ATOMIC_RELEASE);
            }
        }
        /* A handler of a 32-bit program that interrupted a call is not on the call's stack, which so seems to be left. */
        bool found = engine.i386 ? stacks_grow(count) : stacks_collect(guest) || stacks_grow(count);
        if (!found)
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

static bool is_exec(const struct trapped *call)
{
    if (call->i386)
        return i386_is_exec(call->number);
    return call->number == SYS_execve || call->number == SYS_execveat;
}

/* The kernel frees the stack where execve succeeds in memory that others use too. */
static void tid_address_lend(struct work *work)
{
    int *address = NULL;
    work->has_address = sys_call2(SYS_prctl, PR_GET_TID_ADDRESS, &address) == 0;
    work->tid_address = address;
    if (work->has_address)
        sys_call1(SYS_set_tid_address, &claims[work->stack].state);
}

static void work_run(struct work *work)
{
    bool lends = is_exec(work->call);
    if (lends)
        tid_address_lend(work);
    if (work->call->i386)
        work->result = i386_call(work->call);
    else
        work->result = signal_is_call(work->call->number) ? signal_call(work->call) : engine_call(work->call);
    if (lends && work->has_address)
        sys_call1(SYS_set_tid_address, work->tid_address);
}

/* A call from a rewritten site. */
long stacks_run(struct trapped *call)
{
    struct work work = {.call = call};
    work.stack = stack_claim((const char *)__builtin_frame_address(0));
    stack_switch(stack_top(work.stack) - 64, work_run, &work);
    __atomic_store_n(&claims[work.stack].state, FREE, __ATOMIC_RELEASE);
    return work.result;
}

/* ---- a call that trapped ----
 *
 * The signal's frame lies on the guest's alternate stack, if it has one, where the next signal's would be put
 * over it as soon as the engine runs elsewhere.  So nothing is left there: the registers are kept on the
 * engine's stack, and the way back is a jump instead of rt_sigreturn(2).
 */

enum { SW_RESERVED = 464 /* of a fxsave area: struct _fpx_sw_bytes */, XSTATE_MAGIC = 0x46505853 };

_Static_assert(offsetof(struct visit, ax) == 0 && offsetof(struct visit, r9) == offsetof(struct landing, r9) &&
                   offsetof(struct visit, claim) == offsetof(struct landing, claim) &&
                   offsetof(struct visit, call.number) == offsetof(struct landing, call),
               "a visit begins with a landing");

/* The kernel gave the handler fresh vector registers; the guest's own must be there when we jump back, and
 * nothing of ours uses them meanwhile. */
static void vectors_restore(const char *area)
{
    const uint32_t *words = (const uint32_t *)(area + SW_RESERVED);
    if (!area)
        return;
    if (words[0] == XSTATE_MAGIC)
        __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"(words[2]), "d"(words[3]) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

__attribute__((used)) void visit_run(struct visit *visit)
{
    if ((unsigned)visit->alternate.ss_flags & SS_AUTODISARM)
        sys_call2(SYS_sigaltstack, &visit->alternate, NULL);
    if (engine.guard)
        sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, &visit->mask, NULL, 8);
    if (visit->guarded)
        sys_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, &visit->guarded, NULL, 8);
    if (engine.patch && engine.tracing == TRACE_PATHS && !visit->is_i386)
        patch_site((unsigned char *)visit->ip - SYSCALL_SIZE, visit->call.number);
    work_run(&visit->work);
    visit->ax = visit->work.result;
    if (visit->lands)
        land((const struct landing *)visit);
    if (engine.tracing)
        traced_leave();
}

__attribute__((visibility("hidden"), noreturn)) void visit_enter(struct visit *visit);
__asm__(".text\n"
        ".globl visit_enter\n"
        ".hidden visit_enter\n"
        "visit_enter:\n"
        "    mov %rdi, %rsp\n"
        "    mov %rdi, %rbx\n"
        "    call visit_run\n"
        "    cmpq $0, 152(%rbx)\n"
        "    jne i386_leave\n"
        "    pushq 40(%rbx)\n" /* flags */
        "    popfq\n"
        "    mov 0(%rbx), %rax\n"
        "    mov 16(%rbx), %rbp\n"
        "    mov 32(%rbx), %rcx\n" /* ip: a system call destroys rcx and r11 */
        "    mov 48(%rbx), %r12\n"
        "    mov 56(%rbx), %r13\n"
        "    mov 64(%rbx), %r14\n"
        "    mov 72(%rbx), %r15\n"
        "    mov 80(%rbx), %rdi\n"
        "    mov 88(%rbx), %rsi\n"
        "    mov 96(%rbx), %rdx\n"
        "    mov 104(%rbx), %r10\n"
        "    mov 112(%rbx), %r8\n"
        "    mov 120(%rbx), %r9\n"
        "    mov 128(%rbx), %r11\n" /* claim */
        "    mov 24(%rbx), %rsp\n"
        "    mov 8(%rbx), %rbx\n"
        "    movl $0, (%r11)\n"
        "    jmp *%rcx\n");

/* What is known of a call by the guest's registers at it. */
static struct visit *visit_make(const greg_t *r, bool i386)
{
    int stack = stack_claim((const char *)r[REG_RSP]);
    uintptr_t top = (uintptr_t)stack_top(stack);
    struct visit *visit = (struct visit *)((top - sizeof *visit) & ~(uintptr_t)63);
    *visit = (struct visit){
        r[REG_RAX], r[REG_RBX], r[REG_RBP], r[REG_RSP], r[REG_RIP], r[REG_EFL], r[REG_R12], r[REG_R13],
        r[REG_R14], r[REG_R15], r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8],  r[REG_R9],
        &claims[stack].state,
        r[REG_RCX], r[REG_RSP] - I386_FAR, i386,
        {r[REG_RAX], {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]}, NULL, NULL},
        {.call = &visit->call, .stack = stack},
        {.ss_flags = SS_DISABLE},
        0,
        false,
        0,
        0,
    };
    if (i386)
        i386_take(visit);
    claims[stack].visit = visit;
    return visit;
}

/* Runs the trapped call of a signal's frame and goes on behind it; does not return. */
void stacks_visit(const ucontext_t *context, bool i386, bool lands)
{
    struct visit *visit = visit_make(context->uc_mcontext.gregs, i386);
    visit->lands = lands;
    visit->alternate = context->uc_stack;
    visit->mask = *(const uint64_t *)&context->uc_sigmask;
    vectors_restore((const char *)context->uc_mcontext.fpregs);
    visit_enter(visit);
}

/* The same for a call that a tracer stopped: the registers are in the order of enum greg_t (sys/ucontext.h). */
void stacks_visit_traced(const long *registers, uint64_t guarded, bool i386)
{
    struct visit *visit = visit_make((const greg_t *)registers, i386);
    visit->guarded = guarded;
    visit_enter(visit);
}

const struct visit *stacks_visited(const char *at)
{
    int stack = stack_of(at);
    return stack < 0 || !claims[stack].state ? NULL : claims[stack].visit;
}

/* Shows a signal's handler the guest at its call instead of the engine in it: the registers that the guest had, at the
 * `syscall` itself; the number of the guest's call, or -1 where no trapped call was interrupted. */
long stacks_show_guest(greg_t *r)
{
    const struct visit *visit = stacks_visited((const char *)r[REG_RSP]);
    if (!visit)
        return -1;
    r[REG_RAX] = visit->call.number;
    r[REG_RBX] = visit->bx, r[REG_RBP] = visit->bp, r[REG_RSP] = visit->sp, r[REG_RIP] = visit->ip - SYSCALL_SIZE;
    r[REG_R12] = visit->r12, r[REG_R13] = visit->r13, r[REG_R14] = visit->r14, r[REG_R15] = visit->r15;
    r[REG_RDI] = visit->di, r[REG_RSI] = visit->si, r[REG_RDX] = visit->dx;
    r[REG_R10] = visit->r10, r[REG_R8] = visit->r8, r[REG_R9] = visit->r9;
    return visit->call.number;
}

/* The guest has left the call by another way. */
void stacks_abandon(const char *at)
{
    int stack = stack_of(at);
    if (stack >= 0)
        __atomic_store_n(&claims[stack].state, FREE, __ATOMIC_RELEASE);
}
