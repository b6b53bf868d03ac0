/* How a run comes under its tracer: the launcher, which becomes the program, starts it as a grandchild.
 *
 * So the program is the process that the caller started, with its signals, its terminal and its exit status, and has
 * no child that it did not make.  The tracer is in a session of its own, where no terminal and nobody who signals
 * a process group reaches it; it holds no file open, and ends with the last process that it traces.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <sys/wait.h>

#include "tracer.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61 /* Yama */
#endif
#ifndef PR_SET_PTRACER_ANY
#define PR_SET_PTRACER_ANY (-1ul)
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum {
    OPTIONS = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
              PTRACE_O_TRACESECCOMP,
    FILES = 1 << 16, /* as many descriptors are closed where the kernel cannot close all at once */
};

static void files_close(void)
{
    if (sys_call3(SYS_close_range, 0, ~0u, 0) == 0)
        return;
    for (long file = 0; file < FILES; file++)
        sys_call1(SYS_close, file);
}

static _Noreturn void tracer_run(long program, long answer)
{
    uint64_t all = ~0ull;
    sys_call4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, NULL, 8);
    sys_call0(SYS_setsid);
    sys_call5(SYS_prctl, PR_SET_NAME, "udocker-tracer", 0, 0, 0);
    int result = tracer_prepare(program);
    if (result == 0)
        result = (int)sys_call4(SYS_ptrace, PTRACE_SEIZE, program, 0, OPTIONS);
    sys_call3(SYS_write, answer, &result, sizeof result);
    files_close();
    sys_call1(SYS_chdir, "/");
    if (result == 0)
        tracer_serve();
    process_stop(0);
}

/* A child without a signal at its end, which the program would find pending. */
static long child_start(void)
{
    return sys_call5(SYS_clone, 0, 0, 0, 0, 0);
}

static _Noreturn void refused(long error)
{
    if (error == -EPERM && land_is_traced())
        report_and_stop("ptrace", "this process is traced already, and nobody has two tracers",
                        "run it without strace, gdb or another engine around it");
    if (error == -EPERM || error == -EACCES)
        report_and_stop("ptrace", "this host does not let processes be traced",
                        "kernel.yama.ptrace_scope above 1, or a sandbox around this process, forbids it");
    report_failure("ptrace", error);
}

/* What the tracer was told, or why there is none. */
static long tracer_await(long answer)
{
    int result;
    long size;
    do
        size = sys_call3(SYS_read, answer, &result, sizeof result);
    while (size == -EINTR);
    return size == sizeof result ? result : size < 0 ? size : -ESRCH;
}

void tracer_start(void)
{
    int pipe[2], status;
    /* As with a filter: a program's own privileges are not to be had. */
    sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long program = sys_call0(SYS_getpid), result = sys_call2(SYS_pipe2, pipe, O_CLOEXEC);
    if (result < 0)
        refused(result);
    /* Where Yama lets descendants alone be traced, the tracer is to be allowed; the kernel forgets it again. */
    sys_call5(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    long child = child_start();
    if (child == 0) {
        if (child_start() == 0)
            tracer_run(program, pipe[1]);
        process_stop(0);
    }
    sys_call1(SYS_close, pipe[1]);
    if (child > 0)
        sys_call4(SYS_wait4, child, &status, __WALL, 0);
    result = child < 0 ? child : tracer_await(pipe[0]);
    sys_call1(SYS_close, pipe[0]);
    sys_call5(SYS_prctl, PR_SET_PTRACER, 0, 0, 0, 0);
    if (result < 0)
        refused(result);
}
