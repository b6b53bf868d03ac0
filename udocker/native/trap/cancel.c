/* The signals by which C libraries cancel threads: 32 of glibc's, 33 of musl's.
 *
 * musl's handler, and glibc's since 2.41, cancel a call only where it waits at the library's own `syscall`; elsewhere
 * they let it go on, for ever.  A call that trapped waits in the engine.  So these two handlers are called by ours,
 * which shows them the guest at its call, and lets the guest go where they send it; or unwind from there.
 */

#include <errno.h>
#include <signal.h>

#include "trap.h"

enum { FIRST = 32, COUNT = 2 };

bool cancel_is_signal(long number)
{
    return number >= FIRST && number < FIRST + COUNT;
}

static bool is_syscall(const unsigned char *at)
{
    return at[0] == 0x0f && at[1] == 0x05;
}

extern const char trap_text_start[] __attribute__((visibility("hidden")));
extern const char trap_text_end[] __attribute__((visibility("hidden")));

/* Whether something has come of the call that would be lost: a connection, a message.  Before that the guest may as
 * well not have made it yet. */
static bool is_done(long number, const greg_t *r)
{
    bool takes = number == SYS_accept || number == SYS_accept4 || number == SYS_recvfrom || number == SYS_recvmsg ||
                 number == SYS_recvmmsg;
    uintptr_t place = (uintptr_t)r[REG_RIP];
    bool in_engine = place >= (uintptr_t)trap_text_start + SYSCALL_SIZE && place < (uintptr_t)trap_text_end;
    return !in_engine || (takes && is_syscall((const unsigned char *)place - SYSCALL_SIZE) && r[REG_RAX] >= 0);
}

static void on_cancel(int number, siginfo_t *information, void *context)
{
    void (*guest)(int, siginfo_t *, void *) = (void (*)(int, siginfo_t *, void *))engine.cancel[number - FIRST].handler;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    mcontext_t ours;
    bytes_copy((char *)ours.gregs, (const char *)registers, sizeof ours.gregs);
    long call = stacks_show_guest(registers);
    if (call >= 0 && is_done(call, ours.gregs))
        bytes_copy((char *)registers, (const char *)ours.gregs, sizeof ours.gregs);
    greg_t place = registers[REG_RIP];
    guest(number, information, context);
    if (registers[REG_RIP] == place)
        bytes_copy((char *)registers, (const char *)ours.gregs, sizeof ours.gregs);
    else
        stacks_abandon((const char *)ours.gregs[REG_RSP]);
}

/* rt_sigaction(2); `new` is NULL where it only asks. */
long cancel_action(const struct trapped *call, const struct disposition *new)
{
    const long *a = call->arguments;
    struct disposition *guest = &engine.cancel[a[0] - FIRST], old = *guest, ours;
    long result = 0;
    if (new) {
        ours = *new;
        if (new->handler != (void *)SIG_DFL && new->handler != (void *)SIG_IGN) {
            ours.handler = (void *)on_cancel;
            ours.flags |= SA_SIGINFO;
            signal_guard(1ull << (a[0] - 1));
        }
        *guest = *new; /* before it can come */
        result = sys_call4(SYS_rt_sigaction, a[0], &ours, NULL, 8);
        if (result < 0)
            *guest = old;
    }
    return result == 0 && a[2] ? user_write((void *)a[2], &old, sizeof old) : result;
}
