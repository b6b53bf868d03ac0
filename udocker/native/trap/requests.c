/* What a debugger of the container asks of ptrace(2): debug.c has what it is shown. */

#include <errno.h>
#include <linux/audit.h>
#include <sys/wait.h>

#include "debug.h"

static int begun; /* the process whose waits are trapped, ourselves or who made us */

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

static long seize(const struct trapped *call)
{
    long result = land_fetch(call->arguments[1]);
    if (result == 0)
        result = reissue(call);
    if (result == 0 && call->arguments[0] == PTRACE_SEIZE)
        calls_are_marked = calls_are_marked || (call->arguments[3] & PTRACE_O_TRACESYSGOOD);
    struct tracee *tracee = result == 0 ? tracee_take(call->arguments[1]) : NULL;
    if (tracee)
        tracee->is_new = true;
    return result;
}

/* The next stop is here already; a debugger that waits for SIGCHLD is to look. */
static long stop_hold(struct tracee *tracee, int status)
{
    tracee->held = status;
    sys_call2(SYS_kill, sys_call0(SYS_getpid), SIGCHLD);
    return 0;
}

/* On from a stop that the kernel knows nothing of. */
static bool shown_end(struct tracee *tracee, const long *a)
{
    struct user_regs_struct r;
    enum shown shown = tracee->shown;
    tracee->shown = SHOWN_NONE;
    if (shown == SHOWN_INTERRUPTED) {
        stop_hold(tracee, tracee->signal);
        return true;
    }
    if (shown != SHOWN_BEGIN || trace(PTRACE_GETREGS, tracee->thread, 0, &r) < 0)
        return false;
    r.rax = (unsigned long)tracee->result;
    trace(PTRACE_SETREGS, tracee->thread, 0, &r);
    if (a[0] == PTRACE_SYSCALL)
        stop_hold(tracee, debug_call_stop(tracee, SHOWN_END));
    return a[0] == PTRACE_SYSCALL;
}

static long resume(struct tracee *tracee, const struct trapped *call)
{
    const long *a = call->arguments;
    bool follows = a[0] == PTRACE_SYSCALL || a[0] == PTRACE_SINGLESTEP;
    tracee->way = (uint8_t)(follows ? a[0] : PTRACE_CONT);
    tracee->has_message = false;
    tracee->held = 0; /* of a stop that was told with WNOWAIT */
    tracee->in_call = tracee->in_call && a[0] == PTRACE_SYSCALL;
    if (tracee->shown && shown_end(tracee, a))
        return 0;
    /* Until the engine leaves nothing is to be seen. */
    return sys_call4(SYS_ptrace, tracee->lands ? PTRACE_CONT : a[0], a[1], a[2], a[3]);
}

/* PTRACE_GET_SYSCALL_INFO at a call of which the kernel knows nothing. */
static long call_information(const struct tracee *tracee, const long *a)
{
    struct user_regs_struct r;
    struct ptrace_syscall_info i = {.arch = AUDIT_ARCH_X86_64};
    long result = trace(PTRACE_GETREGS, tracee->thread, 0, &r);
    if (result < 0)
        return result;
    i.instruction_pointer = r.rip;
    i.stack_pointer = r.rsp;
    size_t size = offsetof(struct ptrace_syscall_info, exit.is_error) + sizeof i.exit.is_error;
    if (tracee->shown == SHOWN_BEGIN) {
        const uint64_t arguments[] = {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
        i.op = PTRACE_SYSCALL_INFO_ENTRY;
        i.entry.nr = r.orig_rax;
        bytes_copy((char *)i.entry.args, (const char *)arguments, sizeof arguments);
        size = offsetof(struct ptrace_syscall_info, entry.args) + sizeof i.entry.args;
    } else {
        i.op = PTRACE_SYSCALL_INFO_EXIT;
        i.exit.rval = tracee->shown == SHOWN_INTERRUPTED ? -RESTARTS : (int64_t)r.rax;
        i.exit.is_error = (uint64_t)i.exit.rval > -4096ul;
    }
    result = user_write((void *)a[3], &i, (size_t)a[2] < size ? (size_t)a[2] : size);
    return result < 0 ? result : (long)size;
}

static long detach(const struct trapped *call)
{
    long thread = call->arguments[1];
    debug_mark(thread, DEBUG_NONE);
    tracee_forget(thread);
    return reissue(call);
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
    case PTRACE_INTERRUPT:
        tracee->is_interrupted = true;
        return reissue(call);
    case PTRACE_GET_SYSCALL_INFO:
        return tracee->shown ? call_information(tracee, a) : reissue(call);
    case PTRACE_GETEVENTMSG:
        return tracee->has_message ? user_write((void *)a[3], &tracee->message, sizeof tracee->message)
                                   : reissue(call);
    case PTRACE_SETOPTIONS:
        calls_are_marked = a[3] & PTRACE_O_TRACESYSGOOD;
        return reissue(call);
    case PTRACE_DETACH:
        return detach(call);
    default:
        return reissue(call);
    }
}

/* Stops that a filter of the guest's asks for: it is not asked of trapped calls, and is asked of the engine's own.  So there
 * are none, as on a kernel before 3.5; strace(1) says that it does without. */
static bool wants_filtered(const long *a)
{
    return (a[0] == PTRACE_SETOPTIONS || a[0] == PTRACE_SEIZE) && (a[3] & PTRACE_O_TRACESECCOMP);
}

static long trace_call(const struct trapped *call)
{
    const long *a = call->arguments;
    if (a[0] == PTRACE_TRACEME)
        return land_ask();
    if (wants_filtered(a))
        return -EINVAL;
    int result = debugger_begin();
    if (result < 0)
        return result;
    if (a[0] == PTRACE_SEIZE || a[0] == PTRACE_ATTACH)
        return seize(call);
    if (!tracee_find(a[1]))
        debug_land(a[1]); /* its first stop came before wait4 was trapped */
    struct tracee *tracee = tracee_find(a[1]);
    return tracee && a[1] > 0 ? request_call(tracee, call) : reissue(call);
}

bool debug_call(const struct trapped *call, long *result)
{
    if (call->number == SYS_ptrace)
        *result = trace_call(call);
    else if (call->number == SYS_wait4)
        *result = waits_wait4(call);
    else if (call->number == SYS_waitid)
        *result = waits_waitid(call);
    else if (call->number == SYS_kill || call->number == SYS_tkill || call->number == SYS_tgkill)
        *result = land_send(call);
    else
        return false;
    return true;
}
