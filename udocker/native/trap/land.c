/* A process of the container that another one in it debugs: debug.c has the debugger's side.
 *
 * To the kernel such a program begins in the engine, and its trapped calls are calls of the engine's.  So that the
 * debugger finds the guest instead, the engine stops where it leaves for the guest, and debug.c puts the guest's
 * registers in place.  Who asks to be traced by a parent that has traced nothing yet, whose waits are not trapped, is so
 * only from the end of the engine's next start on, whose stop stands for the one of execve; or from the first signal
 * on that it sends to itself.  A vfork child is so as well: its parent, who waits for it, could not see its stops.  And
 * one with other threads, under which the engine would change where it is taken from our own tracer.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/ptrace.h>

#include "trap.h"

/* Where the registers are is in r8. */
__asm__(".text\n"
        ".globl land_stop, land_stopped\n"
        ".hidden land_stop, land_stopped\n"
        "land_stop:\n"
        "    mov %rcx, %r8\n"
        "    mov $234, %eax\n" /* tgkill */
        "    syscall\n"
        "land_stopped:\n"
        "    ret\n");

__attribute__((visibility("hidden"))) long land_stop(long process, long thread, long signal, const void *at);

long land_proc_number(const char *path, const char *field)
{
    char text[2048];
    size_t length = bytes_length(field);
    long number = 0, file = sys_call4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    long size = sys_call3(SYS_read, file, text, sizeof text - 1);
    sys_call1(SYS_close, file);
    text[size < 0 ? 0 : size] = '\0';
    for (const char *at = text; *at; at++)
        if (bytes_equal(at, field, length)) {
            for (at += length; *at >= '0' && *at <= '9'; at++)
                number = number * 10 + *at - '0';
            break;
        }
    return number;
}

bool land_is_traced(void)
{
    return land_proc_number("/proc/thread-self/status", "TracerPid:\t") != 0;
}

/* A filter of the guest's own may keep gettid(2) from us: strace(1) tries one that asks for a tracer at that call. */
static void stop_self(long signal, const void *at)
{
    long thread = sys_call0(SYS_gettid);
    if (thread < 0)
        thread = land_proc_number("/proc/thread-self/status", "\nPid:\t");
    land_stop(sys_call0(SYS_getpid), thread, signal, at);
}

/* SIGSTOP cannot be blocked, and the debugger takes it away; whose debugger has gone meanwhile must not get it. */
static void stop_if_traced(const struct landing *at, long signal)
{
    if (land_is_traced())
        stop_self(signal, at);
}

void land(const struct landing *at)
{
    stop_if_traced(at, SIGSTOP);
}

/* ---- who asks to be traced ---- */

/* The process that does.  By its number: a vfork child's memory is its parent's. */
static int asking;

bool land_is_asked(void)
{
    return asking != 0 && asking == (int)sys_call0(SYS_getpid);
}

/* From a tracer of our own to none: what its filter asks of a tracer is from now on trapped, for that goes before. */
static int hand_over(void)
{
    engine.tracing = TRACE_NONE;
    signal_adopt();
    int result = filter_install();
    if (result == 0)
        result = filter_add_debugged();
    if (result == 0)
        result = filter_add_scheduling();
    if (result == 0 && engine.kernel[0])
        result = filter_add_call(SYS_uname);
    if (result == 0 && listing_is_trapped())
        result = filter_add_call(SYS_getdents64);
    stop_self(SIGSTOP, NULL);
    return result;
}

long land_begin_traced(void)
{
    asking = 0;
    int result = engine.tracing ? hand_over() : 0;
    return result < 0 ? result : sys_call4(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
}

long land_ask(void)
{
    if (land_is_asked() || (!engine.tracing && land_is_traced()))
        return -EPERM;
    int result = filter_add_debugged();
    if (result < 0)
        return result;
    if (debug_is_debugger((int)sys_call0(SYS_getppid)) && stacks_are_alone())
        return land_begin_traced();
    asking = (int)sys_call0(SYS_getpid);
    return 0;
}

void land_at_start(uintptr_t entry, const unsigned long *stack)
{
    static int nobody;
    struct landing at = {.sp = (long)stack, .ip = (long)entry, .flags = 0x200 /* IF */, .claim = &nobody, .call = SYS_execve};
    engine.patch = false; /* or calls would be none that the debugger sees */
    if (engine_debugged == DEBUG_ASKED && land_begin_traced() == 0)
        stop_if_traced(&at, SIGTRAP);
    else if (engine_debugged == DEBUG_FOLLOWED)
        land(&at);
}

long land_send(const struct trapped *call)
{
    long target = call->arguments[0], self = sys_call0(SYS_getpid);
    bool own = call->number == SYS_tkill ? target == sys_call0(SYS_gettid) : target == self;
    if (own && land_is_asked() && stacks_are_alone())
        land_begin_traced();
    return reissue(call);
}

/* ---- a running process ---- */

/* A word with our tracer, which gives the answer (../tracer/fetch.c). */
long land_fetch(long process)
{
    if (!engine.tracing || process <= 0)
        return 0;
    return land_stop(sys_call0(SYS_getpid), sys_call0(SYS_gettid), SIGSTOP, (const void *)process);
}

/* Where the tracer puts each thread of such a process, one after the other; it takes them away again. */
__attribute__((used)) void land_fetched_run(void)
{
    hand_over();
}

static char fetched_stack[32 * 1024] __attribute__((used, aligned(16)));

__asm__(".text\n"
        ".globl land_fetched\n"
        ".hidden land_fetched\n"
        "land_fetched:\n"
        "    lea fetched_stack+32*1024(%rip), %rsp\n"
        "    xor %ebp, %ebp\n"
        "    cld\n"
        "    call land_fetched_run\n"
        "    hlt\n");
