/* A debugger of the container (gdb, strace): what ptrace(2) and the waits tell it of processes in which an engine is.
 *
 * It sees the guest's calls and signals only.  A trapped call is to the kernel one that ends at once, a signal, and
 * calls of the engine's: the debugger is shown its beginning and, where it follows calls or single steps, its end,
 * at which the engine stops (land.c).  A new program is shown when the engine has loaded it.
 * wait4 and waitid (waits.c) are trapped only in processes that have traced something.
 */

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/wait.h>

#include "debug.h"

enum { MOST = 512 };

static struct tracee tracees[MOST];
bool calls_are_marked;

extern const char _start[] __attribute__((visibility("hidden")));

struct tracee *tracee_find(long thread)
{
    for (int i = 0; i < MOST; i++)
        if (tracees[i].thread == (int)thread)
            return &tracees[i];
    return NULL;
}

/* NULL where there are too many: those are shown as they are. */
struct tracee *tracee_take(long thread)
{
    struct tracee *found = tracee_find(thread);
    if (!found && (found = tracee_find(0)))
        *found = (struct tracee){.thread = (int)thread};
    return found;
}

void tracee_forget(long thread)
{
    struct tracee *found = tracee_find(thread);
    if (found)
        found->thread = 0;
}

static long word_read(long thread, uintptr_t place, void *word)
{
    return trace(PTRACE_PEEKDATA, thread, (long)place, word);
}

static long word_write(long thread, uintptr_t place, long word)
{
    return sys_call4(SYS_ptrace, PTRACE_POKEDATA, thread, place, word);
}

/* ---- where the engine leaves for the guest ---- */

/* By the signal that it sends itself, not by the call that does. */
static bool is_landing(long thread, const struct user_regs_struct *r)
{
    siginfo_t information;
    return r->rip == (uintptr_t)land_stopped && r->r8 != 0 &&
           trace(PTRACE_GETSIGINFO, thread, 0, &information) == 0 && information.si_code == SI_TKILL;
}

static long landing_read(long thread, uintptr_t place, struct landing *at)
{
    long result = 0;
    for (size_t i = 0; result == 0 && i < sizeof *at / sizeof(long); i++)
        result = word_read(thread, place + i * sizeof(long), (long *)at + i);
    return result;
}

/* The engine's stack, which the thread would have given back. */
static void claim_end(long thread, uintptr_t claim)
{
    long word;
    if (word_read(thread, claim & ~7ul, &word) < 0)
        return;
    *(int *)((char *)&word + (claim & 4)) = 0;
    word_write(thread, claim & ~7ul, word);
}

/* The thread goes on in the guest; `behind` a call for who looks at registers. */
static long landing_take(long thread, struct user_regs_struct *r, bool behind)
{
    struct landing at;
    long result = landing_read(thread, r->r8, &at);
    if (result < 0)
        return result;
    claim_end(thread, (uintptr_t)at.claim);
    r->rax = (unsigned long)at.ax, r->rbx = (unsigned long)at.bx, r->rbp = (unsigned long)at.bp;
    r->rsp = (unsigned long)at.sp, r->rip = (unsigned long)at.ip, r->eflags = (unsigned long)at.flags;
    r->r12 = (unsigned long)at.r12, r->r13 = (unsigned long)at.r13, r->r14 = (unsigned long)at.r14;
    r->r15 = (unsigned long)at.r15, r->rdi = (unsigned long)at.di, r->rsi = (unsigned long)at.si;
    r->rdx = (unsigned long)at.dx, r->r10 = (unsigned long)at.r10, r->r8 = (unsigned long)at.r8;
    r->r9 = (unsigned long)at.r9, r->rcx = (unsigned long)at.ip, r->r11 = (unsigned long)at.flags;
    r->orig_rax = behind ? (unsigned long)at.call : -1ul;
    return trace(PTRACE_SETREGS, thread, 0, r);
}

/* ---- a program that has begun: the kernel's stop is at the engine's first instruction ---- */

/* What the starting engine finds: it is to stop where it leaves. */
long debug_mark(long thread, enum debugged debugged)
{
    uintptr_t place = (uintptr_t)&engine_debugged, word = place & ~7ul;
    long text, result = word_read(thread, word, &text);
    if (result < 0)
        return result;
    ((uint8_t *)&text)[place & 7] = (uint8_t)debugged;
    return word_write(thread, word, text);
}

/* Lets the engine load the program; what comes meanwhile is put off.  ENDED, with how, where it does not get there. */
static int start_await(long thread, int *status)
{
    uint64_t later = 0;
    bool interrupted = false;
    struct user_regs_struct r;
    for (;;) {
        int now;
        long result = debug_mark(thread, DEBUG_FOLLOWED);
        if (result == 0)
            result = trace(PTRACE_CONT, thread, 0, 0);
        if (result == 0)
            result = sys_call4(SYS_wait4, thread, &now, __WALL, 0);
        if (result < 0)
            return REPORT; /* killed: the next look tells */
        if (!WIFSTOPPED(now)) {
            *status = now;
            return ENDED;
        }
        trace(PTRACE_GETREGS, thread, 0, &r);
        if (is_landing(thread, &r))
            break;
        interrupted = interrupted || now >> 16 == PTRACE_EVENT_STOP;
        if (now >> 16 == 0 && r.rip != (uintptr_t)_start)
            later |= 1ull << (WSTOPSIG(now) - 1);
    }
    landing_take(thread, &r, false);
    for (int signal = 1; later >> (signal - 1); signal++)
        if (later >> (signal - 1) & 1)
            sys_call2(SYS_tkill, thread, signal);
    if (interrupted)
        trace(PTRACE_INTERRUPT, thread, 0, 0);
    return REPORT;
}

/* Where calls are followed, the end of execve is still to be shown: that is where the engine leaves. */
static int start_show(struct tracee *tracee, int *status)
{
    long thread = tracee->thread;
    siginfo_t information;
    bool is_event = *status >> 16 == PTRACE_EVENT_EXEC;
    if (is_event && tracee->way == PTRACE_SYSCALL) {
        debug_mark(thread, DEBUG_FOLLOWED);
        tracee->lands = true;
        return REPORT;
    }
    trace(PTRACE_GETSIGINFO, thread, 0, &information);
    trace(PTRACE_GETEVENTMSG, thread, 0, &tracee->message);
    tracee->has_message = is_event;
    int result = start_await(thread, status);
    if (result == REPORT)
        trace(PTRACE_SETSIGINFO, thread, 0, &information);
    return result;
}

/* ---- stops ---- */

static int go_on(const struct tracee *tracee, long way, long signal)
{
    sys_call4(SYS_ptrace, way, tracee->thread, 0, signal);
    if (tracee->is_interrupted)
        trace(PTRACE_INTERRUPT, tracee->thread, 0, NULL);
    return AGAIN;
}

static long way_of(const struct tracee *tracee)
{
    return tracee->way ? tracee->way : PTRACE_CONT;
}

int debug_call_stop(struct tracee *tracee, enum shown shown)
{
    tracee->shown = shown;
    return (calls_are_marked ? CALL_STOP : SIGTRAP) << 8 | 0x7f;
}

static void information_set(long thread, int code)
{
    siginfo_t information = {.si_signo = SIGTRAP, .si_code = code};
    trace(PTRACE_SETSIGINFO, thread, 0, &information);
}

/* The end of a trapped call, or of a step over one.  An interrupted one has been shown to end: it begins again. */
static int landing_show(struct tracee *tracee, struct user_regs_struct *r, int *status)
{
    bool begins = !tracee->lands, is_call = tracee->way == PTRACE_SYSCALL;
    long thread = tracee->thread;
    landing_take(thread, r, is_call);
    tracee->lands = false;
    if (!is_call && tracee->way != PTRACE_SINGLESTEP)
        return go_on(tracee, way_of(tracee), 0);
    if (is_call)
        *status = debug_call_stop(tracee, begins ? SHOWN_BEGIN : SHOWN_END);
    else
        *status = SIGTRAP << 8 | 0x7f;
    if (is_call && begins) {
        tracee->result = (long)r->rax;
        r->rax = (unsigned long)-ENOSYS;
        trace(PTRACE_SETREGS, thread, 0, r);
    }
    information_set(thread, is_call ? WSTOPSIG(*status) : TRAP_TRACE);
    return REPORT;
}

/* A signal of the guest's, which comes to it in the middle of a call. */
static int signal_show(struct tracee *tracee, int *status)
{
    if (!tracee->lands)
        return REPORT;
    tracee->lands = false;
    if (tracee->way == PTRACE_SYSCALL) {
        tracee->signal = *status;
        *status = debug_call_stop(tracee, SHOWN_INTERRUPTED);
    }
    return REPORT;
}

/* A trapped call's signal; what the debugger wants to see of its end is told the engine by it. */
static int trapped_show(struct tracee *tracee, siginfo_t *information)
{
    tracee->lands = way_of(tracee) != PTRACE_CONT;
    if (tracee->lands) {
        information->si_errno = LAND_MARK;
        trace(PTRACE_SETSIGINFO, tracee->thread, 0, information);
    }
    return go_on(tracee, PTRACE_CONT, SIGSYS);
}

/* Whether the signal of a trapped call is the next to come. */
static bool is_trapped(long thread)
{
    struct ptrace_peeksiginfo_args wanted = {0, 0, 1};
    siginfo_t information;
    return sys_call4(SYS_ptrace, PTRACE_PEEKSIGINFO, thread, &wanted, &information) == 1 &&
           information.si_signo == SIGSYS && information.si_code == TRAPPED && information.si_errno == TRAP_MARK;
}

/* A stop at a call, or the plain one of a new program. */
static int trap_show(struct tracee *tracee, const struct user_regs_struct *r, int *status)
{
    siginfo_t information;
    if (trace(PTRACE_GETSIGINFO, tracee->thread, 0, &information) < 0)
        return REPORT;
    if (information.si_code == SI_USER && r->rip == (uintptr_t)_start)
        return start_show(tracee, status);
    if (information.si_code != CALL_STOP && information.si_code != SIGTRAP)
        return signal_show(tracee, status);
    bool ends = tracee->in_call;
    tracee->in_call = !ends && !filter_is_engine(r->rip);
    if (!ends && filter_is_engine(r->rip))
        return go_on(tracee, PTRACE_SYSCALL, 0);
    if (r->rax == r->orig_rax && is_trapped(tracee->thread))
        return go_on(tracee, PTRACE_CONT, 0);
    return REPORT;
}

int debug_stop(long thread, int *status)
{
    int signal = WSTOPSIG(*status), event = *status >> 16;
    struct user_regs_struct r;
    siginfo_t information;
    if (trace(PTRACE_GETREGS, thread, 0, &r) < 0)
        return REPORT; /* a child that nobody traces */
    struct tracee *tracee = tracee_take(thread);
    if (!tracee)
        return REPORT;
    if (tracee->is_new)
        debug_mark(thread, DEBUG_FOLLOWED);
    tracee->is_new = false;
    if (event)
        return event == PTRACE_EVENT_EXEC && r.rip == (uintptr_t)_start ? start_show(tracee, status) : REPORT;
    if ((signal == SIGTRAP || signal == SIGSTOP) && is_landing(thread, &r)) {
        if (signal == SIGSTOP)
            return landing_show(tracee, &r, status);
        return landing_take(thread, &r, false) < 0 ? AGAIN : REPORT; /* one that asked to be traced begins */
    }
    if (signal == SIGTRAP || signal == CALL_STOP)
        return trap_show(tracee, &r, status);
    if (signal == SIGSYS && trace(PTRACE_GETSIGINFO, thread, 0, &information) == 0 &&
        information.si_code == TRAPPED && information.si_errno == TRAP_MARK)
        return trapped_show(tracee, &information);
    return signal_show(tracee, status);
}

static bool is_wanted(long wanted, long thread)
{
    if (wanted > 0 || wanted == -1)
        return wanted == -1 || wanted == thread;
    return sys_call1(SYS_getpgid, thread) == (wanted ? -wanted : sys_call1(SYS_getpgid, 0));
}

long debug_held(long wanted, int *status)
{
    for (int i = 0; i < MOST; i++)
        if (tracees[i].thread && tracees[i].held && is_wanted(wanted, tracees[i].thread)) {
            *status = tracees[i].held;
            tracees[i].held = 0;
            return tracees[i].thread;
        }
    return 0;
}

void debug_land(long thread)
{
    struct user_regs_struct r;
    if (trace(PTRACE_GETREGS, thread, 0, &r) == 0 && tracee_take(thread) && is_landing(thread, &r))
        landing_take(thread, &r, false);
}
