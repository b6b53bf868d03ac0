/* SIGSYS is ours: it must stay unblocked and handled, while the guest believes that it has it. */

#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#include "i386.h"

enum { TRAPPED = 1 /* SYS_SECCOMP of siginfo's si_code */ };

static bool is_wait(long number)
{
    return number == SYS_ppoll || number == SYS_pselect6 || number == SYS_epoll_pwait ||
           number == 441 /* epoll_pwait2 */ || number == SYS_rt_sigsuspend;
}

bool signal_is_call(long number)
{
    return number == SYS_rt_sigprocmask || number == SYS_rt_sigaction || is_wait(number);
}

/* The guest's action for SIGSYS, in which ours stands. */
long sigsys_set(const struct disposition *guest, struct disposition *old)
{
    struct disposition ours = {
        (void *)action_enter_sigsys,
        SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART,
        NULL,
        engine.guard,
    };
    return action_set(SIGSYS, guest ? &ours : NULL, guest, old);
}

static long action_call(struct trapped *call)
{
    const long *a = call->arguments;
    struct disposition new, old;
    if (a[3] != 8)
        return -EINVAL;
    if (a[1] && user_read(&new, (const void *)a[1], sizeof new) < 0)
        return -EFAULT;
    if (!engine.tracing) {
        new.mask &= ~SIGSYS_BIT;
        foreign_action(&new);
    }
    if (a[0] != SIGSYS && !cancel_is_signal(a[0]))
        return a[1] ? sys_call4(call->number, a[0], &new, a[2], 8) : reissue(call);
    const struct disposition *guest = a[1] ? &new : NULL;
    long result = a[0] == SIGSYS ? sigsys_set(guest, &old) : cancel_set(a[0], guest, &old);
    return result == 0 && a[2] ? user_write((void *)a[2], &old, sizeof old) : result;
}

/* The mask of a trapped call is the one that its handler's return brings back, so that one is changed. */
static long mask_call(struct trapped *call)
{
    const long *a = call->arguments;
    uint64_t set = 0, old, *mask = call->mask;
    if (a[3] != 8)
        return -EINVAL;
    if (a[1] && user_read(&set, (const void *)a[1], sizeof set) < 0)
        return -EFAULT;
    if (a[0] != SIG_UNBLOCK)
        set &= ~SIGSYS_BIT;
    if (!mask)
        return sys_call4(call->number, a[0], a[1] ? &set : NULL, a[2], 8);
    old = *mask;
    if (a[1]) {
        if (a[0] == SIG_BLOCK)
            *mask = old | set;
        else if (a[0] == SIG_UNBLOCK)
            *mask = old & ~set;
        else if (a[0] == SIG_SETMASK)
            *mask = set;
        else
            return -EINVAL;
        /* The kernel never blocks these two: sigprocmask(2). */
        *mask &= ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1));
    }
    return a[2] ? user_write((void *)a[2], &old, sizeof old) : 0;
}

/* Waits with a mask of their own; the mask that the guest returns to is put in force by the kernel. */
static long wait_call(struct trapped *call)
{
    struct trapped copy = *call;
    uint64_t mask;
    struct {
        const uint64_t *mask;
        size_t size;
    } pair;
    int place = call->number == SYS_rt_sigsuspend ? 0 : call->number == SYS_ppoll ? 3 : 4;
    if (call->number == SYS_pselect6)
        place = 5;
    if (copy.arguments[place] == 0)
        return reissue(call);
    if (call->number == SYS_pselect6) {
        if (user_read(&pair, (const void *)copy.arguments[5], sizeof pair) < 0)
            return -EFAULT;
        if (!pair.mask)
            return reissue(call);
        if (user_read(&mask, pair.mask, sizeof mask) < 0)
            return -EFAULT;
        pair.mask = &mask;
        copy.arguments[5] = (long)&pair;
    } else {
        if (user_read(&mask, (const void *)copy.arguments[place], sizeof mask) < 0)
            return -EFAULT;
        copy.arguments[place] = (long)&mask;
    }
    mask &= ~SIGSYS_BIT;
    return reissue(&copy);
}

long signal_call(struct trapped *call)
{
    if (call->number == SYS_rt_sigaction)
        return action_call(call);
    return call->number == SYS_rt_sigprocmask ? mask_call(call) : wait_call(call);
}

/* SIGSYS that is none of ours, sent by somebody or by a filter of the guest's: what the guest has set for it. */
static void deliver(int number, siginfo_t *information, void *context, struct disposition guest)
{
    const struct disposition none = {0};
    if (guest.handler == (void *)SIG_IGN && information->si_code != TRAPPED)
        return;
    if (guest.flags & SA_RESETHAND)
        sigsys_set(&none, NULL);
    if (guest.handler != (void *)SIG_DFL && guest.handler != (void *)SIG_IGN) {
        guest.mask &= ~SIGSYS_BIT;
        if (engine.i386)
            i386_deliver_sigsys(number, information, context, guest);
        sys_call4(SYS_rt_sigprocmask, SIG_BLOCK, &guest.mask, NULL, 8); /* the frame's comes back */
        ((void (*)(int, siginfo_t *, void *))guest.handler)(number, information, context);
        return;
    }
    sys_call4(SYS_rt_sigaction, SIGSYS, &none, NULL, 8);
    sys_call3(SYS_tgkill, sys_call0(SYS_getpid), sys_call0(SYS_gettid), SIGSYS);
}

/* Where the processor keeps return addresses twice (CET), only rt_sigreturn leads back. */
static bool has_shadow_stack(void)
{
    uintptr_t pointer = 0;
    __asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8" /* rdsspq %rax, nothing where there is none */
                     : "+a"(pointer));
    return pointer != 0;
}

static bool is_mark(int number)
{
    return number == TRAP_MARK || number == LAND_MARK;
}

void signal_on_sigsys(int number, siginfo_t *information, void *context, const struct disposition *guest)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    bool is_ours = information->si_code == TRAPPED;
    if (is_ours && information->si_errno == TRAP_MARK_I386) {
        i386_trapped(context);
        return;
    }
    if (!is_ours || !is_mark(information->si_errno)) {
        deliver(number, information, context, *guest);
        return;
    }
    struct trapped call = {
        registers[REG_RAX],
        {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX], registers[REG_R10], registers[REG_R8],
         registers[REG_R9]},
        (uint64_t *)&((ucontext_t *)context)->uc_sigmask,
        NULL,
    };
    bool lands = information->si_errno == LAND_MARK;
    if (engine.patch)
        patch_site((unsigned char *)registers[REG_RIP] - 2, call.number);
    if (lands)
        stacks_visit(context, false, true);
    else if (call.number == SYS_rt_sigprocmask || call.number == SYS_rt_sigaction)
        registers[REG_RAX] = signal_call(&call);
    else if (has_shadow_stack()) {
        if (engine.guard)
            sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, call.mask, NULL, 8);
        registers[REG_RAX] = stacks_run(&call);
    } else
        stacks_visit(context, false, false);
}

/* That a process has made it so is asked of the kernel: of those that share memory each has its own. */
void signal_guard(uint64_t mask)
{
    struct disposition now;
    if (engine.tracing)
        return; /* then the tracer does it */
    __atomic_or_fetch(&engine.guard, mask, __ATOMIC_RELAXED);
    sys_call4(SYS_rt_sigaction, SIGSYS, NULL, &now, 8);
    if ((now.mask & mask) != mask)
        sigsys_set(now.restorer, NULL);
}

void signal_adopt(void)
{
    struct disposition old;
    uint64_t mask = SIGSYS_BIT;
    sigsys_set(NULL, &old);
    sigsys_set(&old, NULL);
    sys_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, 8);
}

void signal_install(void)
{
    struct disposition none = {0}, old;
    uint64_t mask = SIGSYS_BIT;
    /* Of an engine before this one only what survives execve is the guest's: that it is ignored. */
    sigsys_set(&none, &old);
    if (old.handler == (void *)SIG_IGN)
        sigsys_set(&old, NULL);
    sys_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, 8);
}
