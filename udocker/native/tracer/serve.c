/* The tracer's work: it sleeps until a process stops, looks why, and lets it go on. */

#include <errno.h>
#include <linux/audit.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "tracer.h"

enum { SYSCALL_STOP = SIGTRAP | 0x80 /* PTRACE_O_TRACESYSGOOD */ };

static long trace(long request, long thread, long address, long data)
{
    return sys_call4(SYS_ptrace, request, thread, address, data);
}

/* ---- a call: the thread goes on in the engine ---- */

/* Once some process of the container handles such a signal. */
static bool guards;

/* Blocks those that are not; returns which. */
static uint64_t guard(long thread)
{
    uint64_t all = (1ull << CANCEL_COUNT) - 1, mask, free;
    if (!guards || trace(PTRACE_GETSIGMASK, thread, sizeof mask, (long)&mask) < 0)
        return 0;
    free = ~mask >> (CANCEL_FIRST - 1) & all;
    mask |= all << (CANCEL_FIRST - 1);
    return trace(PTRACE_SETSIGMASK, thread, sizeof mask, (long)&mask) < 0 ? 0 : free;
}

static bool is_i386(const struct user_regs_struct *registers)
{
    return (registers->cs & 0xffff) == I386_CODE;
}

/* 32-bit code goes on in the engine's 64-bit one. */
static void i386_widen(struct user_regs_struct *registers)
{
    registers->r8 = registers->rcx; /* a call of i386 keeps it */
    registers->cs = I386_CODE_64;
    registers->ss = I386_DATA;
}

static long call_redirect(long thread, struct user_regs_struct *registers)
{
    bool i386 = is_i386(registers);
    guards = guards || registers->orig_rax == (i386 ? TRACER_I386_ACTION : SYS_rt_sigaction);
    if (i386)
        i386_widen(registers);
    registers->rcx = registers->rip;
    registers->r11 = (uint32_t)registers->orig_rax | guard(thread) << 32 | (i386 ? TRACER_I386 : 0);
    registers->rip = (uintptr_t)traced_enter;
    registers->orig_rax = -1ul; /* no call is made now, and none is made again after a signal */
    return trace(PTRACE_SETREGS, thread, 0, (long)registers);
}

/* In place of the call. */
static void call_answer(long thread, struct user_regs_struct *registers, long result)
{
    registers->orig_rax = -1ul;
    registers->rax = (unsigned long)result;
    trace(PTRACE_SETREGS, thread, 0, (long)registers);
}

/* place.c is told of those. */
static bool is_about_scheduling(long thread, const struct user_regs_struct *registers, bool i386)
{
    enum scheduling call = filter_scheduling((long)registers->orig_rax, i386);
    if (call != SCHEDULING_NONE)
        place_asked(thread, (int)(i386 ? registers->rbx : registers->rdi), call == SCHEDULING_SET);
    return call != SCHEDULING_NONE;
}

/* A filter of the guest's own that asks for a tracer is told, as it would be elsewhere, that there is none: seccomp(2). */
static void seccomp_stop(long thread)
{
    struct user_regs_struct registers;
    unsigned long mark = 0;
    trace(PTRACE_GETEVENTMSG, thread, 0, (long)&mark);
    if (trace(PTRACE_GETREGS, thread, 0, (long)&registers) == 0) {
        bool i386 = mark == TRAP_MARK_I386, ours = mark == TRAP_MARK || i386;
        bool is_made = ours && is_about_scheduling(thread, &registers, i386);
        if (!is_made && ours && (!i386 || is_i386(&registers)))
            call_redirect(thread, &registers);
        else if (!is_made)
            call_answer(thread, &registers, -ENOSYS);
    }
    place_resume(PTRACE_CONT, thread, 0);
}

/* ---- every call, where there is no filter ----
 *
 * A thread is stopped at a call and after it, as long as it runs the guest's code.  In the engine it is not, until that
 * says that it leaves; or until a signal comes, whose handler is the guest's. */

/* "int $0x80" makes calls of 32-bit numbers, in 64-bit programs too; the kernel tells since 5.3. */
static uint32_t architecture(long thread, uintptr_t behind)
{
    struct ptrace_syscall_info info;
    if (trace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, (long)&info) > 0)
        return info.arch;
    uint64_t word = 0;
    trace(PTRACE_PEEKTEXT, thread, (long)(behind - SYSCALL_SIZE), (long)&word);
    return (word & 0xffff) == 0x80cd ? AUDIT_ARCH_I386 : AUDIT_ARCH_X86_64;
}

static void i386_arguments(struct seccomp_data *call, const struct user_regs_struct *r)
{
    const unsigned long long arguments[6] = {r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rbp};
    for (int i = 0; i < 6; i++)
        call->args[i] = (uint32_t)arguments[i];
}

/* Calls that concern debuggers are the engine's business in a process that has to do with one. */
static bool concerns_debuggers(long thread, const struct seccomp_data *call)
{
    unsigned long word = 0;
    return call->arch == AUDIT_ARCH_X86_64 && filter_is_debugged(call->nr) &&
           trace(PTRACE_PEEKDATA, thread, (long)&filter_debugged, (long)&word) == 0 && (uint8_t)word;
}

/* The way on: PTRACE_CONT into the engine, PTRACE_SYSCALL into the guest. */
static long entry_stop(long thread)
{
    struct user_regs_struct r;
    if (trace(PTRACE_GETREGS, thread, 0, (long)&r) < 0)
        return PTRACE_SYSCALL;
    if (filter_is_engine(r.rip)) {
        /* Out of a handler of the engine's (actions.c) it leads to where the guest wants to be. */
        bool returns = r.orig_rax == SYS_rt_sigreturn;
        place_set_in_call(thread, returns);
        return returns ? PTRACE_SYSCALL : PTRACE_CONT;
    }
    struct seccomp_data call = {
        (int)r.orig_rax,
        architecture(thread, r.rip),
        r.rip,
        {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9},
    };
    if (call.arch == AUDIT_ARCH_I386)
        i386_arguments(&call, &r);
    uint32_t verdict = SECCOMP_RET_ALLOW;
    if (!is_about_scheduling(thread, &r, call.arch == AUDIT_ARCH_I386))
        verdict = judge(&call);
    if (concerns_debuggers(thread, &call))
        verdict = SECCOMP_RET_TRACE;
    if ((verdict & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_TRACE) {
        if (call.arch == AUDIT_ARCH_X86_64 || is_i386(&r)) {
            call_redirect(thread, &r);
            return PTRACE_CONT;
        }
        verdict = SECCOMP_RET_ERRNO | ENOSYS; /* a call of 32-bit numbers, made by 64-bit code */
    }
    if ((verdict & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO)
        call_answer(thread, &r, -(long)(verdict & SECCOMP_RET_DATA));
    place_set_in_call(thread, true);
    return PTRACE_SYSCALL;
}

static void call_stop(long thread)
{
    long way = PTRACE_SYSCALL;
    if (place_is_in_call(thread))
        place_set_in_call(thread, false);
    else
        way = entry_stop(thread);
    place_resume(way, thread, 0);
}

/* Whether a signal is the engine's word that it leaves.  Then a call is the next that stops, whatever this number's last
 * thread was at: one that executes a program gets the number of the process. */
static bool is_leaving(long thread, int signal)
{
    struct user_regs_struct registers;
    siginfo_t information;
    if (engine.tracing != TRACE_ALL || (signal != SIGSTOP && signal != SIGSEGV) ||
        trace(PTRACE_GETREGS, thread, 0, (long)&registers) < 0)
        return false;
    bool by_fault = signal == SIGSEGV && registers.rip == (uintptr_t)traced_fault;
    bool by_call = signal == SIGSTOP && registers.rip == (uintptr_t)traced_stopped &&
                   trace(PTRACE_GETSIGINFO, thread, 0, (long)&information) == 0 && information.si_code == SI_TKILL;
    if (!by_fault && !by_call)
        return false;
    place_set_in_call(thread, false);
    registers.rax = TRACER_HEARD;
    registers.rip += by_fault; /* that instruction is one byte */
    return trace(PTRACE_SETREGS, thread, 0, (long)&registers) == 0;
}

/* The engine's word that a debugger of the container is to have this thread, or another process: land.c.  false where
 * the stop is none such. */
static bool hand_over(long thread, int signal)
{
    struct user_regs_struct registers;
    if (signal != SIGSTOP || trace(PTRACE_GETREGS, thread, 0, (long)&registers) < 0 ||
        registers.rip != (uintptr_t)land_stopped)
        return false;
    if (registers.r8 == 0) {
        trace(PTRACE_DETACH, thread, 0, 0);
        return true;
    }
    registers.rax = (unsigned long)tracer_fetch(thread, (long)registers.r8);
    trace(PTRACE_SETREGS, thread, 0, (long)&registers);
    place_resume(PTRACE_CONT, thread, 0);
    return true;
}

int tracer_prepare(long program)
{
    int result = place_prepare(program);
    if (result < 0 || engine.tracing == TRACE_PATHS)
        return result;
    filter_keep();
    return 0;
}

/* ---- other stops: ptrace(2) ---- */

static bool is_stopping(int signal)
{
    return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

static long way_on(void)
{
    return engine.tracing == TRACE_ALL ? PTRACE_SYSCALL : PTRACE_CONT;
}

static bool is_birth(int event)
{
    return event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE;
}

static void birth(long thread, bool is_process)
{
    unsigned long born;
    if (trace(PTRACE_GETEVENTMSG, thread, 0, (long)&born) == 0 && born < TRACER_THREADS &&
        place_born(thread, (long)born, is_process))
        place_resume(way_on(), (long)born, 0);
}

static void serve(long thread, int status)
{
    int signal = status >> 8 & 0xff, event = status >> 16;
    if (is_birth(event))
        birth(thread, event != PTRACE_EVENT_CLONE);
    if (event == PTRACE_EVENT_SECCOMP)
        seccomp_stop(thread);
    else if (signal == SYSCALL_STOP)
        call_stop(thread);
    else if (event == PTRACE_EVENT_STOP && is_stopping(signal))
        trace(PTRACE_LISTEN, thread, 0, 0);
    else if (event == PTRACE_EVENT_STOP && place_is_early(thread))
        return;
    else if (event || !hand_over(thread, signal))
        place_resume(way_on(), thread, event || is_leaving(thread, signal) ? 0 : signal);
}

void tracer_event(long thread, int status)
{
    place_heard(thread, status);
    if (WIFSTOPPED(status)) {
        serve(thread, status);
        return;
    }
    /* It may be the one that was to tell of a thread. */
    for (long early; (early = place_next_early());)
        place_resume(way_on(), early, 0);
}

long tracer_wait(long thread, int *status)
{
    for (;;) {
        long stopped = sys_call4(SYS_wait4, thread, status, __WALL, 0);
        if (stopped != -EINTR)
            return stopped;
        place_woken();
    }
}

void tracer_serve(void)
{
    for (;;) {
        int status;
        long thread = tracer_wait(-1, &status);
        if (thread == -ECHILD)
            return;
        if (thread > 0)
            tracer_event(thread, status);
    }
}
