/* A process goes over from us to a debugger of the container, for it cannot have both: ptrace(2).
 *
 * Each of its threads is stopped, sets itself up in the engine as one of engine T (../trap/land.c) and is let go, where it was and
 * as it was: in a call that is then made again, or stopped by a signal.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "tracer.h"

enum { THREADS_MOST = 1024, LISTING = 4096 };

static struct {
    int threads[THREADS_MOST]; /* negative once they are stopped */
    int count;
    bool is_busy;
} fetch;

static long trace(long request, long thread, long address, void *data)
{
    return sys_call4(SYS_ptrace, request, thread, address, data);
}

static int *thread_find(long thread)
{
    for (int i = 0; i < fetch.count; i++)
        if (fetch.threads[i] == (int)thread || fetch.threads[i] == (int)-thread)
            return &fetch.threads[i];
    return NULL;
}

static void thread_add(long thread)
{
    if (thread <= 0 || thread_find(thread) || fetch.count == THREADS_MOST)
        return;
    if (trace(PTRACE_INTERRUPT, thread, 0, NULL) == 0)
        fetch.threads[fetch.count++] = (int)thread;
}

/* struct linux_dirent64: the length of an entry at 16, its name at 19. */
static void threads_read(long directory)
{
    char listing[LISTING];
    long size;
    while ((size = sys_call3(SYS_getdents64, directory, listing, sizeof listing)) > 0)
        for (long at = 0; at < size;) {
            long thread = 0;
            unsigned short length;
            for (const char *digit = listing + at + 19; *digit >= '0' && *digit <= '9'; digit++)
                thread = thread * 10 + (*digit - '0');
            thread_add(thread);
            bytes_copy((char *)&length, listing + at + 16, sizeof length);
            at += length;
        }
}

/* Those that are not known yet; false where the process is gone. */
static bool threads_list(long process)
{
    char path[40] = "/proc/", digits[16], *at = digits + sizeof digits - 1;
    static const char task[] = "/task";
    *at = '\0';
    do
        *--at = (char)('0' + process % 10);
    while (process /= 10);
    size_t length = (size_t)(digits + sizeof digits - 1 - at);
    bytes_copy(path + 6, at, length);
    bytes_copy(path + 6 + length, task, sizeof task);
    long directory = sys_call4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (directory < 0)
        return false;
    threads_read(directory);
    sys_call1(SYS_close, directory);
    return true;
}

static int threads_running(void)
{
    int running = 0;
    for (int i = 0; i < fetch.count; i++)
        running += fetch.threads[i] > 0;
    return running;
}

/* Meanwhile the others are served: a thread may wait for one of them.  Any other stop forgets that one was asked for. */
static void threads_await(void)
{
    while (threads_running() > 0) {
        int status;
        long thread = tracer_wait(-1, &status);
        int *found = thread_find(thread);
        if (thread < 0)
            return;
        if (found && !WIFSTOPPED(status))
            *found = 0;
        else if (found && status >> 16 == PTRACE_EVENT_STOP)
            *found = (int)-thread;
        else
            tracer_event(thread, status);
        if (found && *found > 0)
            trace(PTRACE_INTERRUPT, thread, 0, NULL);
    }
}

/* Runs the engine's part in a stopped thread, whose signals wait for so long; false where that has died. */
static bool thread_run(long thread, const struct user_regs_struct *before)
{
    struct user_regs_struct r = *before;
    bool stopped = false;
    r.rip = (uintptr_t)land_fetched;
    r.orig_rax = -1ul;
    trace(PTRACE_SETREGS, thread, 0, &r);
    for (;;) {
        int status;
        trace(PTRACE_CONT, thread, 0, NULL);
        if (tracer_wait(thread, &status) != thread || !WIFSTOPPED(status))
            return false;
        if (status >> 16 == 0 && trace(PTRACE_GETREGS, thread, 0, &r) == 0 && r.rip == (uintptr_t)land_stopped)
            break;
        stopped = stopped || (status >> 16 == 0 && WSTOPSIG(status) == SIGSTOP);
    }
    if (stopped)
        sys_call2(SYS_tkill, thread, SIGSTOP);
    return true;
}

static void thread_release(long thread)
{
    struct user_regs_struct before;
    uint64_t all = ~0ull, mask;
    if (trace(PTRACE_GETREGS, thread, 0, &before) < 0 || trace(PTRACE_GETSIGMASK, thread, sizeof mask, &mask) < 0)
        return;
    trace(PTRACE_SETSIGMASK, thread, sizeof all, &all);
    if (!thread_run(thread, &before))
        return;
    mask &= ~(1ull << (SIGSYS - 1));
    trace(PTRACE_SETREGS, thread, 0, &before);
    trace(PTRACE_SETSIGMASK, thread, sizeof mask, &mask);
    trace(PTRACE_DETACH, thread, 0, NULL);
}

/* The process of a thread, asked for by a thread of another; -errno.  One that is not ours is left as it is. */
long tracer_fetch(long asker, long process)
{
    if (fetch.is_busy)
        return -EPERM;
    fetch.is_busy = true;
    fetch.count = 0;
    bool is_own = false;
    for (int known = -1; known != fetch.count && !is_own;) {
        known = fetch.count;
        if (!threads_list(process))
            break;
        is_own = thread_find(asker);
        if (!is_own)
            threads_await();
    }
    for (int i = 0; i < fetch.count && !is_own; i++)
        if (fetch.threads[i] < 0)
            thread_release(-fetch.threads[i]);
    fetch.is_busy = false;
    return is_own ? -EPERM : 0;
}
