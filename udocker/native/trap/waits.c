/* What wait4(2) and waitid(2) give a debugger of the container: ends as the kernel tells them, stops as debug.c shows
 * them. */

#include <errno.h>
#include <limits.h>
#include <sys/wait.h>

#include "begin.h"
#include "debug.h"

enum { PIDFD = 3 /* P_PIDFD */, NOBODY = -INT_MAX };

/* Of a thread that has ended nothing is known any more. */
static void waited(long thread, bool has_ended)
{
    struct tracee *tracee = tracee_find(thread);
    if (tracee && has_ended)
        tracee_forget(thread);
    else if (tracee)
        tracee->is_interrupted = false;
}

long waits_wait4(const struct trapped *call)
{
    const long *a = call->arguments;
    int status, shown = REPORT;
    long thread = debug_held((int)a[0], &status);
    while (thread == 0 || shown == AGAIN) {
        thread = sys_call4(SYS_wait4, a[0], &status, a[2], a[3]);
        if (thread <= 0)
            return thread;
        shown = WIFSTOPPED(status) ? debug_stop(thread, &status) : REPORT;
    }
    waited(thread, WIFEXITED(status) || WIFSIGNALED(status));
    int result = a[1] ? user_write((void *)a[1], &status, sizeof status) : 0;
    return result < 0 ? result : thread;
}

/* ---- waitid ---- */

/* Whom it waits for, in wait4's terms.  Who is behind a descriptor the kernel tells in a file. */
static long wanted_of(long kind, long number)
{
    struct line file;
    switch (kind) {
    case P_PGID:
        return -(int)number;
    case PIDFD:
        file.at = 0;
        line_put(&file, "/proc/thread-self/fdinfo/");
        line_put_number(&file, (unsigned)number, 10);
        number = land_proc_number(file.text, "Pid:\t");
        /* fall through */
    case P_PID:
        return (int)number > 0 ? (int)number : NOBODY;
    default:
        return -1;
    }
}

static siginfo_t information_of(long thread, int status)
{
    siginfo_t information = {.si_signo = SIGCHLD};
    information.si_pid = (int)thread;
    information.si_uid = (unsigned)sys_call0(SYS_getuid); /* a debugger's own, or nobody's that it can trace */
    information.si_code = WIFSTOPPED(status) ? CLD_TRAPPED : WIFEXITED(status) ? CLD_EXITED
                          : WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED;
    information.si_status = WIFSTOPPED(status) ? status >> 8 : WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
    return information;
}

/* A stop that is to be told again (WNOWAIT) is taken from the kernel all the same, and kept: what it is shown as has
 * made the thread go on, or its registers others. */
static int stop_take(siginfo_t *information, long options)
{
    long thread = information->si_pid;
    int status = information->si_status << 8 | 0x7f;
    bool again = options & WNOWAIT;
    if (again && !tracee_take(thread))
        return REPORT;
    if (again)
        sys_call5(SYS_waitid, P_PID, thread, NULL, WSTOPPED | WNOHANG | __WALL, NULL);
    int shown = debug_stop(thread, &status);
    if (shown == AGAIN)
        return shown;
    *information = information_of(thread, status);
    if (again)
        tracee_find(thread)->held = status;
    return shown;
}

static bool has_ended(const siginfo_t *information)
{
    return information->si_code == CLD_EXITED || information->si_code == CLD_KILLED || information->si_code == CLD_DUMPED;
}

long waits_waitid(const struct trapped *call)
{
    const long *a = call->arguments;
    int status, shown = REPORT;
    siginfo_t information = {0};
    long thread = debug_held(wanted_of(a[0], a[1]), &status);
    if (thread != 0) {
        information = information_of(thread, status);
        if (a[3] & WNOWAIT)
            tracee_find(thread)->held = status;
    }
    while (thread == 0 || shown == AGAIN) {
        information = (siginfo_t){0};
        long result = sys_call5(SYS_waitid, a[0], a[1], &information, a[3], a[4]);
        if (result < 0)
            return result;
        thread = information.si_pid;
        if (thread == 0)
            break; /* WNOHANG */
        shown = information.si_code == CLD_TRAPPED ? stop_take(&information, a[3]) : REPORT;
    }
    waited(thread, has_ended(&information) && !(a[3] & WNOWAIT));
    return a[2] ? user_write((void *)a[2], &information, sizeof information) : 0;
}
