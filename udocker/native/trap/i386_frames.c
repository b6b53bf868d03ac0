/* Handlers of 32-bit programs: how they are called, and the way back.
 *
 * A handler of the guest's is never the kernel's to call: its frame would hold the lower halves of registers, and the
 * engine's addresses have upper ones.  The kernel calls a handler of ours with a frame of 64 bits; that writes the
 * frame which the guest expects below its stack, and jumps into the guest's handler.  The return from there is a call
 * (sigreturn(2)) like any other that traps, and leads back over both frames.
 */

#include <errno.h>

#include "i386.h"

enum {
    RETURN = 119,
    SOCKETCALL = 102,
    RECVMMSG = 337,
    ACCEPT4 = 364,
    RECVFROM = 371,
    RECVMSG = 372,
    RECVMMSG_TIME64 = 417,
    RESTORER = 0x04000000,
    FRAME_MARK = 0x7ea03232,
    FLOATS_EXTENDED = 1, /* UC_FP_XSTATE */
};

/* ---- the frames, as the kernel writes them: <asm/sigcontext.h>, <asm/ucontext.h> ---- */

struct registers {
    uint32_t gs, fs, es, ds, di, si, bp, sp, bx, dx, cx, ax, trap, error, ip, cs, flags, sp_again, ss, floats, mask, fault;
};

struct context {
    uint32_t flags, link, stack, stack_flags, stack_size;
    struct registers registers;
    uint64_t mask;
} __attribute__((packed, aligned(4)));

struct information {
    int32_t signal, error, code;
    uint32_t rest[29];
};

/* Behind what the kernel writes, what leads back. */
struct way_back {
    uint64_t context; /* the frame of 64 bits */
    uint32_t ip;      /* as the handler was shown it */
    uint32_t mark;
} __attribute__((packed, aligned(4)));

struct frame_old {
    uint32_t returns, signal;
    struct registers registers;
    uint32_t none[156]; /* the state of the floating-point unit lies elsewhere: i386_floats.c */
    uint32_t mask_high;
    uint8_t code[8];
    struct way_back back;
} __attribute__((packed, aligned(4)));

struct frame {
    uint32_t returns, signal, information, context;
    struct information told;
    struct context shown;
    uint8_t code[8];
    struct way_back back;
} __attribute__((packed, aligned(4)));

_Static_assert(sizeof(struct registers) == 88 && sizeof(struct information) == 128, "as the kernel has them");

/* ---- calling a handler ---- */

/* The fields of siginfo that follow the first three, by the kind of signal: sigaction(2). */
static void information_narrow(struct information *narrow, const siginfo_t *wide)
{
    *narrow = (struct information){wide->si_signo, wide->si_errno, wide->si_code, {0}};
    bool by_kernel = wide->si_code > 0 && wide->si_code < 0x80 /* SI_KERNEL */;
    if (by_kernel && (wide->si_signo == SIGILL || wide->si_signo == SIGFPE || wide->si_signo == SIGSEGV ||
                      wide->si_signo == SIGBUS || wide->si_signo == SIGTRAP)) {
        narrow->rest[0] = (uint32_t)(uintptr_t)wide->si_addr;
        narrow->rest[1] = (uint16_t)wide->si_addr_lsb;
    } else if (by_kernel && wide->si_signo == SIGCHLD) {
        narrow->rest[0] = (uint32_t)wide->si_pid;
        narrow->rest[1] = wide->si_uid;
        narrow->rest[2] = (uint32_t)wide->si_status;
        narrow->rest[3] = (uint32_t)wide->si_utime;
        narrow->rest[4] = (uint32_t)wide->si_stime;
    } else if (by_kernel && wide->si_signo == SIGPOLL) {
        narrow->rest[0] = (uint32_t)wide->si_band;
        narrow->rest[1] = (uint32_t)wide->si_fd;
    } else if (by_kernel && wide->si_signo == SIGSYS) {
        narrow->rest[0] = (uint32_t)(uintptr_t)wide->si_call_addr;
        narrow->rest[1] = (uint32_t)wide->si_syscall;
        narrow->rest[2] = wide->si_arch;
    } else { /* sent: kill(2), sigqueue(3), timers, where the first two have other names */
        narrow->rest[0] = (uint32_t)wide->si_pid;
        narrow->rest[1] = wide->si_uid;
        narrow->rest[2] = (uint32_t)(uintptr_t)wide->si_ptr;
    }
}

static void registers_show(struct registers *shown, const greg_t *r)
{
    *shown = (struct registers){
        .gs = (uint16_t)(r[REG_CSGSFS] >> 16),
        .fs = (uint16_t)(r[REG_CSGSFS] >> 32),
        .es = I386_DATA,
        .ds = I386_DATA,
        .di = (uint32_t)r[REG_RDI],
        .si = (uint32_t)r[REG_RSI],
        .bp = (uint32_t)r[REG_RBP],
        .sp = (uint32_t)r[REG_RSP],
        .bx = (uint32_t)r[REG_RBX],
        .dx = (uint32_t)r[REG_RDX],
        .cx = (uint32_t)r[REG_RCX],
        .ax = (uint32_t)r[REG_RAX],
        .trap = (uint32_t)r[REG_TRAPNO],
        .error = (uint32_t)r[REG_ERR],
        .ip = (uint32_t)r[REG_RIP],
        .cs = I386_CODE,
        .flags = (uint32_t)r[REG_EFL],
        .sp_again = (uint32_t)r[REG_RSP],
        .ss = I386_DATA,
        .fault = (uint32_t)r[REG_CR2],
    };
}

static bool is_guest(const greg_t *r)
{
    return (r[REG_CSGSFS] & 0xffff) == I386_CODE;
}

/* Gives registers the code segment of 32 bits. */
static void segments_set(greg_t *r)
{
    r[REG_CSGSFS] = (r[REG_CSGSFS] & 0x0000ffffffff0000l) | I386_CODE | (greg_t)I386_DATA << 48;
}

/* The last instruction before the guest, which a signal may find undone. */
static void leave_finish(greg_t *r)
{
    if ((uintptr_t)r[REG_RIP] < (uintptr_t)i386_leave_first || (uintptr_t)r[REG_RIP] > (uintptr_t)i386_leave_last)
        return;
    if ((uintptr_t)r[REG_RIP] == (uintptr_t)i386_leave_first)
        *(int *)r[REG_R11] = 0; /* the stack's claim */
    r[REG_RIP] = *(const uint32_t *)r[REG_RSP];
    r[REG_RSP] += I386_FAR;
    segments_set(r);
}

/* Whether something has come of a call that the handler of a thread's cancellation would lose: cancel.c. */
static bool is_done(long number, const greg_t *r)
{
    bool takes = number == SOCKETCALL || number == ACCEPT4 || number == RECVFROM || number == RECVMSG ||
                 number == RECVMMSG || number == RECVMMSG_TIME64;
    uintptr_t place = (uintptr_t)r[REG_RIP];
    const unsigned char *before = (const unsigned char *)place - SYSCALL_SIZE;
    if (!filter_is_engine(place) || !filter_is_engine((uintptr_t)before))
        return true;
    bool is_call = (before[0] == 0x0f && before[1] == 0x05) || (before[0] == 0xcd && before[1] == 0x80);
    return takes && is_call && (int32_t)r[REG_RAX] >= 0;
}

/* What the guest believes to be interrupted. */
static void guest_show(struct registers *shown, const greg_t *r, const struct visit *visit)
{
    registers_show(shown, r);
    if (is_guest(r) || !visit)
        return;
    shown->di = (uint32_t)visit->di, shown->si = (uint32_t)visit->si, shown->bp = (uint32_t)visit->bp;
    shown->bx = (uint32_t)visit->bx, shown->dx = (uint32_t)visit->dx, shown->cx = (uint32_t)visit->cx;
    shown->sp = shown->sp_again = (uint32_t)visit->sp;
    shown->flags = (uint32_t)visit->flags;
    shown->ax = (uint32_t)visit->call.number;
    shown->ip = (uint32_t)visit->ip - (is_done(visit->call.number, r) ? 0 : SYSCALL_SIZE);
}

/* A frame's place on the guest's stack, whose end the ABI wants so. */
static uintptr_t frame_place(uintptr_t end, size_t size)
{
    return ((end - size + 4) & ~(uintptr_t)15) - 4;
}

/* Jumps into the guest with these registers. */
__attribute__((visibility("hidden"), noreturn)) void i386_jump(uintptr_t stack, uint32_t ax, uint32_t dx, uint32_t cx);
__asm__(".text\n"
        ".globl i386_jump\n"
        ".hidden i386_jump\n"
        "i386_jump:\n"
        "    mov %rdi, %rsp\n" /* the address and its segment */
        "    mov %esi, %eax\n"
        "    mov $0x2b, %esi\n"
        "    mov %esi, %ds\n"
        "    mov %esi, %es\n"
        "    pushq $0x202\n"
        "    popfq\n"
        "    xor %esi, %esi\n"
        "    xor %edi, %edi\n"
        "    xor %ebx, %ebx\n"
        "    xor %ebp, %ebp\n"
        "    lretl\n");

static void far_put(uintptr_t stack, uint32_t ip)
{
    uint32_t *far = (uint32_t *)stack;
    far[0] = ip;
    far[1] = I386_CODE;
}

struct delivery {
    int number;
    const siginfo_t *information;
    ucontext_t *context;
    const struct disposition *action;
    uintptr_t end; /* of the room on the guest's stack */
    struct information told;
    struct registers registers;
    struct way_back back;
};

/* The handler's address to return to: without SA_RESTORER a text of ours. */
static uint32_t returns_to(const struct disposition *action, bool old)
{
    if (action->flags & RESTORER)
        return (uint32_t)(uintptr_t)action->restorer;
    return i386_return_text(old);
}

static _Noreturn void call_old(const struct delivery *delivery)
{
    uintptr_t place = frame_place(delivery->end, sizeof(struct frame_old));
    struct frame_old *frame = (struct frame_old *)place;
    uint64_t mask = *(const uint64_t *)&delivery->context->uc_sigmask;
    frame->returns = returns_to(delivery->action, true);
    frame->signal = (uint32_t)delivery->number;
    frame->registers = delivery->registers;
    frame->registers.mask = (uint32_t)mask;
    frame->mask_high = (uint32_t)(mask >> 32);
    frame->back = delivery->back;
    far_put(place - I386_FAR, (uint32_t)(uintptr_t)delivery->action->handler);
    i386_jump(place - I386_FAR, frame->signal, 0, 0);
}

static _Noreturn void call_new(const struct delivery *delivery)
{
    uintptr_t place = frame_place(delivery->end, sizeof(struct frame));
    struct frame *frame = (struct frame *)place;
    const ucontext_t *context = delivery->context;
    frame->returns = returns_to(delivery->action, false);
    frame->signal = (uint32_t)delivery->number;
    frame->information = (uint32_t)(uintptr_t)&frame->told;
    frame->context = (uint32_t)(uintptr_t)&frame->shown;
    frame->told = delivery->told;
    frame->shown = (struct context){
        .flags = (uint32_t)context->uc_flags & FLOATS_EXTENDED,
        .stack = (uint32_t)(uintptr_t)context->uc_stack.ss_sp,
        .stack_flags = (uint32_t)context->uc_stack.ss_flags,
        .stack_size = (uint32_t)context->uc_stack.ss_size,
        .registers = delivery->registers,
        .mask = *(const uint64_t *)&context->uc_sigmask,
    };
    frame->shown.registers.mask = (uint32_t)frame->shown.mask;
    frame->back = delivery->back;
    far_put(place - I386_FAR, (uint32_t)(uintptr_t)delivery->action->handler);
    i386_jump(place - I386_FAR, frame->signal, frame->information, frame->context);
}

/* The kernel's frame lies on the guest's stack, and so does what this function has; or, where the signal has interrupted a
 * call, on the engine's.  Calls nothing of the kernel: a tracer would take that for the guest's (../tracer/serve.c). */
static _Noreturn void deliver(struct delivery *delivery)
{
    greg_t *r = delivery->context->uc_mcontext.gregs;
    enum { OWN = 1024 /* what the functions here use of the stack, at most */ };
    leave_finish(r);
    const struct visit *visit = is_guest(r) ? NULL : stacks_visited((const char *)r[REG_RSP]);
    guest_show(&delivery->registers, r, visit);
    delivery->back = (struct way_back){(uintptr_t)delivery->context, delivery->registers.ip, FRAME_MARK};
    delivery->end = (uintptr_t)__builtin_frame_address(0) - OWN;
    if (delivery->end >= I386_END)
        delivery->end = visit ? (uint32_t)visit->sp - visit->lent - 2 * I386_FAR : 0; /* the way back lies there too */
    information_narrow(&delivery->told, delivery->information);
    delivery->registers.floats = i386_floats_show(delivery->context, delivery->information, &delivery->end);
    if (delivery->action->flags & SA_SIGINFO)
        call_new(delivery);
    call_old(delivery);
}

__attribute__((used, noreturn)) void i386_on_signal(int number, siginfo_t *information, void *context,
                                                    const struct disposition *action)
{
    struct delivery delivery = {.number = number, .information = information, .context = context, .action = action};
    deliver(&delivery);
}

/* What the guest has set for SIGSYS.  Our handler blocks all signals: the guest's is to block those that it named. */
void i386_deliver_sigsys(int number, const siginfo_t *information, ucontext_t *context, struct disposition guest)
{
    uint64_t mask = (*(const uint64_t *)&context->uc_sigmask | guest.mask) & ~SIGSYS_BIT;
    struct delivery delivery = {.number = number, .information = information, .context = context, .action = &guest};
    sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
    deliver(&delivery);
}

/* ---- the return from one ---- */

static void registers_take(greg_t *r, const struct registers *shown)
{
    enum { FLAGS = 0x50dd5 /* those that a program may set: FIX_EFLAGS of the kernel's signal.c */ };
    r[REG_RDI] = shown->di, r[REG_RSI] = shown->si, r[REG_RBP] = shown->bp, r[REG_RSP] = shown->sp;
    r[REG_RBX] = shown->bx, r[REG_RDX] = shown->dx, r[REG_RCX] = shown->cx, r[REG_RAX] = shown->ax;
    r[REG_RIP] = shown->ip;
    r[REG_EFL] = (r[REG_EFL] & ~(greg_t)FLAGS) | (shown->flags & FLAGS);
    segments_set(r);
}

/* Of a frame that is none of ours, or cannot be read, the kernel would say the same. */
static _Noreturn void wrong_frame(void)
{
    const struct disposition none = {0};
    uint64_t all = 0;
    sys_call4(SYS_rt_sigaction, SIGSEGV, &none, NULL, 8);
    sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
    for (;;)
        sys_call3(SYS_tgkill, sys_call0(SYS_getpid), sys_call0(SYS_gettid), SIGSEGV);
}

/* rt_sigreturn(2) with the frame of 64 bits; then the engine's stack is free. */
__attribute__((visibility("hidden"), noreturn)) void i386_go_back(ucontext_t *context, int *claim);
__asm__(".text\n"
        ".globl i386_go_back\n"
        ".hidden i386_go_back\n"
        "i386_go_back:\n"
        "    mov %rdi, %rsp\n"
        "    movl $0, (%rsi)\n"
        "    mov $15, %eax\n"
        "    syscall\n");

static _Noreturn void go_back(const struct visit *visit, const struct way_back *back, const struct registers *shown,
                              uint64_t mask)
{
    ucontext_t *context = (ucontext_t *)back->context;
    greg_t *r = context->uc_mcontext.gregs;
    bool was_guest = is_guest(r);
    if (was_guest || shown->ip != back->ip) {
        const char *at = (const char *)r[REG_RSP];
        registers_take(r, shown);
        if (!was_guest)
            stacks_abandon(at);
    }
    *(uint64_t *)&context->uc_sigmask = engine.tracing ? mask : mask & ~SIGSYS_BIT;
    if (i386_floats_take(context, shown->floats) < 0)
        wrong_frame();
    traced_leave();
    i386_go_back(context, visit->claim);
}

I386_MAKES(i386_return)
{
    uintptr_t stack = (uint32_t)call->i386->sp;
    struct frame_old old;
    struct frame new;
    if (entry->number == RETURN) {
        if (user_read(&old, (const void *)(stack - 8), sizeof old) < 0 || old.back.mark != FRAME_MARK)
            wrong_frame();
        go_back(call->i386, &old.back, &old.registers, old.registers.mask | (uint64_t)old.mask_high << 32);
    }
    if (user_read(&new, (const void *)(stack - 4), sizeof new) < 0 || new.back.mark != FRAME_MARK)
        wrong_frame();
    go_back(call->i386, &new.back, &new.shown.registers, new.shown.mask);
}

/* ---- a call of 32-bit numbers ---- */

/* One that 64-bit code has made is told that there are none: that goes on where it was, with its other registers. */
void i386_trapped(ucontext_t *context)
{
    greg_t *r = context->uc_mcontext.gregs;
    if (engine.i386 && is_guest(r))
        stacks_visit(context, true, false);
    r[REG_RAX] = -ENOSYS;
}
