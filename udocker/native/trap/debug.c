/* A debugger of the container (gdb, strace): what ptrace(2) and wait4(2) tell it of processes in which an engine is.
 *
 * It sees the guest's calls and signals only.  A trapped call is to the kernel one that ends at once, a signal, and
 * calls of the engine's: the debugger is shown its beginning and, where it follows calls or single steps, its end,
 * at which the engine stops (land.c).  A new program is shown when the engine has loaded it.
 * wait4 is trapped only in processes that have traced something.
 */

#include <errno.h>
#include <linux/audit.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "trap.h"

enum { MOST = 512, CALL_STOP = SIGTRAP | 0x80 /* PTRACE_O_TRACESYSGOOD */, TRAPPED = 1 /* SYS_SECCOMP */ };
enum { REPORT, AGAIN, ENDED };

struct tracee {
    int thread;         /* 0: nobody's place */
    uint8_t way;        /* the request by which the debugger let it go on; 0 before the first */
    bool lands;         /* is in the engine, and stops when it leaves it */
    bool has_landed;    /* is stopped behind a call */
    bool has_message;   /* is stopped at an event that the kernel knows no more */
    unsigned long message;
    long call;
};

static struct tracee tracees[MOST];
static bool calls_are_marked; /* the debugger wants PTRACE_O_TRACESYSGOOD */

extern const char _start[] __attribute__((visibility("hidden")));

static long trace(long request, long thread, long address, void *data)
{
    return sys_call4(SYS_ptrace, request, thread, address, data);
}

static struct tracee *tracee_find(long thread)
{
    for (int i = 0; i < MOST; i++)
        if (tracees[i].thread == (int)thread)
            return &tracees[i];
    return NULL;
}

/* NULL where there are too many: those are shown as they are. */
static struct tracee *tracee_take(long thread)
{
    struct tracee *found = tracee_find(thread);
    if (!found && (found = tracee_find(0)))
        *found = (struct tracee){.thread = (int)thread};
    return found;
}

static void tracee_forget(long thread)
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

/* The thread goes on in the guest.  `call` is that behind which it is, or -1. */
static long landing_take(long thread, struct user_regs_struct *r, long call)
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
    r->orig_rax = (unsigned long)call;
    return trace(PTRACE_SETREGS, thread, 0, r);
}

/* ---- a program that has begun: the kernel's stop is at the engine's first instruction ---- */

/* What the starting engine finds: it is to stop where it leaves. */
static long start_mark(long thread)
{
    uintptr_t place = (uintptr_t)&engine.debugged, word = place & ~7ul;
    long text, result = word_read(thread, word, &text);
    if (result < 0)
        return result;
    ((uint8_t *)&text)[place & 7] = DEBUG_FOLLOWED;
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
        long result = start_mark(thread);
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
    landing_take(thread, &r, -1);
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
        start_mark(thread);
        tracee->lands = true;
        tracee->call = SYS_execve;
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
    return AGAIN;
}

static long way_of(const struct tracee *tracee)
{
    return tracee->way ? tracee->way : PTRACE_CONT;
}

/* The end of a trapped call, or of a step over one. */
static int landing_show(struct tracee *tracee, struct user_regs_struct *r, int *status)
{
    bool shown = tracee->way == PTRACE_SYSCALL || tracee->way == PTRACE_SINGLESTEP;
    bool is_call = tracee->way == PTRACE_SYSCALL;
    int signal = is_call && calls_are_marked ? CALL_STOP : SIGTRAP;
    siginfo_t information = {.si_signo = SIGTRAP, .si_code = is_call ? signal : TRAP_TRACE};
    landing_take(tracee->thread, r, is_call ? tracee->call : -1);
    tracee->lands = false;
    tracee->has_landed = is_call;
    if (!shown)
        return go_on(tracee, way_of(tracee), 0);
    trace(PTRACE_SETSIGINFO, tracee->thread, 0, &information);
    *status = signal << 8 | 0x7f;
    return REPORT;
}

/* A trapped call's signal; what the debugger wants to see of its end is told the engine by it. */
static int trapped_show(struct tracee *tracee, const struct user_regs_struct *r, siginfo_t *information)
{
    tracee->lands = way_of(tracee) != PTRACE_CONT;
    tracee->call = (long)r->rax;
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
        return REPORT;
    if (tracee->lands && filter_is_engine(r->rip))
        return go_on(tracee, PTRACE_SYSCALL, 0);
    if (r->rax == r->orig_rax && is_trapped(tracee->thread))
        return go_on(tracee, PTRACE_CONT, 0);
    return REPORT;
}

static int stop_show(long thread, int *status)
{
    int signal = WSTOPSIG(*status), event = *status >> 16;
    struct user_regs_struct r;
    siginfo_t information;
    struct tracee *tracee = tracee_take(thread);
    bool concerns = event ? event == PTRACE_EVENT_EXEC
                          : signal == SIGTRAP || signal == CALL_STOP || signal == SIGSYS || signal == SIGSTOP;
    if (!concerns || !tracee || trace(PTRACE_GETREGS, thread, 0, &r) < 0)
        return REPORT;
    if (is_landing(thread, &r) && signal == SIGTRAP) /* the first of one that asked to be traced */
        return landing_take(thread, &r, -1) < 0 ? AGAIN : REPORT;
    if (is_landing(thread, &r))
        return landing_show(tracee, &r, status);
    if (event == PTRACE_EVENT_EXEC && r.rip == (uintptr_t)_start)
        return start_show(tracee, status);
    if (signal == SIGTRAP || signal == CALL_STOP)
        return event ? REPORT : trap_show(tracee, &r, status);
    if (signal == SIGSYS && trace(PTRACE_GETSIGINFO, thread, 0, &information) == 0 &&
        information.si_code == TRAPPED && information.si_errno == TRAP_MARK)
        return trapped_show(tracee, &r, &information);
    return REPORT;
}

static long wait_call(const struct trapped *call)
{
    const long *a = call->arguments;
    int status, shown = REPORT;
    long thread;
    do {
        thread = sys_call4(SYS_wait4, a[0], &status, a[2], a[3]);
        if (thread <= 0)
            return thread;
        shown = WIFSTOPPED(status) ? stop_show(thread, &status) : ENDED;
    } while (shown == AGAIN);
    if (shown == ENDED && !WIFCONTINUED(status))
        tracee_forget(thread);
    int result = a[1] ? user_write((void *)a[1], &status, sizeof status) : 0;
    return result < 0 ? result : thread;
}

/* ---- requests ---- */

static int begun; /* the process whose wait4 is trapped, ourselves or who made us */

bool debug_is_debugger(int process)
{
    return begun != 0 && begun == process;
}

static int debugger_begin(void)
{
    int process = (int)sys_call0(SYS_getpid);
    if (begun == process)
        return 0;
    begun = process;
    return filter_add_debugged();
}

/* The first stop of one that asked to be traced came before wait4 was trapped. */
static void newcomer_land(long thread)
{
    struct user_regs_struct r;
    if (trace(PTRACE_GETREGS, thread, 0, &r) == 0 && tracee_take(thread) && is_landing(thread, &r))
        landing_take(thread, &r, -1);
}

static long seize(const struct trapped *call)
{
    long result = land_fetch(call->arguments[1]);
    if (result == 0)
        result = reissue(call);
    if (result == 0 && call->arguments[0] == PTRACE_SEIZE)
        calls_are_marked = calls_are_marked || (call->arguments[3] & PTRACE_O_TRACESYSGOOD);
    if (result == 0)
        tracee_take(call->arguments[1]);
    return result;
}

static long resume(struct tracee *tracee, const struct trapped *call)
{
    const long *a = call->arguments;
    long way = a[0] == PTRACE_SYSCALL || a[0] == PTRACE_SINGLESTEP ? a[0] : PTRACE_CONT;
    /* In the engine nothing is to be seen; but the handler of a signal is the guest's. */
    long request = tracee->lands && a[3] == 0 ? PTRACE_CONT : a[0];
    long result = sys_call4(SYS_ptrace, request, a[1], a[2], a[3]);
    if (result == 0) {
        tracee->way = (uint8_t)way;
        tracee->has_landed = tracee->has_message = false;
    }
    return result;
}

/* PTRACE_GET_SYSCALL_INFO behind a call, of which the kernel knows no more. */
static long call_information(const struct tracee *tracee, const long *a)
{
    struct user_regs_struct r;
    struct ptrace_syscall_info information = {.op = PTRACE_SYSCALL_INFO_EXIT, .arch = AUDIT_ARCH_X86_64};
    size_t size = offsetof(struct ptrace_syscall_info, exit.is_error) + sizeof information.exit.is_error;
    long result = trace(PTRACE_GETREGS, tracee->thread, 0, &r);
    if (result < 0)
        return result;
    information.instruction_pointer = r.rip;
    information.stack_pointer = r.rsp;
    information.exit.rval = (int64_t)r.rax;
    information.exit.is_error = r.rax > -4096ul;
    result = user_write((void *)a[3], &information, (size_t)a[2] < size ? (size_t)a[2] : size);
    return result < 0 ? result : (long)size;
}

static long request_call(struct tracee *tracee, const struct trapped *call)
{
    const long *a = call->arguments;
    switch (a[0]) {
    case PTRACE_CONT:
    case PTRACE_SYSCALL:
    case PTRACE_SINGLESTEP:
    case PTRACE_SINGLEBLOCK:
    case PTRACE_SYSEMU:
    case PTRACE_SYSEMU_SINGLESTEP:
        return resume(tracee, call);
    case PTRACE_GET_SYSCALL_INFO:
        return tracee->has_landed ? call_information(tracee, a) : reissue(call);
    case PTRACE_GETEVENTMSG:
        return tracee->has_message ? user_write((void *)a[3], &tracee->message, sizeof tracee->message)
                                   : reissue(call);
    case PTRACE_SETOPTIONS:
        calls_are_marked = a[3] & PTRACE_O_TRACESYSGOOD;
        return reissue(call);
    case PTRACE_DETACH:
        tracee_forget(a[1]);
        return reissue(call);
    default:
        return reissue(call);
    }
}

static long trace_call(const struct trapped *call)
{
    const long *a = call->arguments;
    if (a[0] == PTRACE_TRACEME)
        return land_ask();
    int result = debugger_begin();
    if (result < 0)
        return result;
    if (a[0] == PTRACE_SEIZE || a[0] == PTRACE_ATTACH)
        return seize(call);
    if (!tracee_find(a[1]))
        newcomer_land(a[1]);
    struct tracee *tracee = tracee_find(a[1]);
    return tracee && a[1] > 0 ? request_call(tracee, call) : reissue(call);
}

bool debug_call(const struct trapped *call, long *result)
{
    if (call->number == SYS_ptrace)
        *result = trace_call(call);
    else if (call->number == SYS_wait4)
        *result = wait_call(call);
    else if (call->number == SYS_kill || call->number == SYS_tkill || call->number == SYS_tgkill)
        *result = land_send(call);
    else
        return false;
    return true;
}
