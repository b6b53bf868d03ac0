/* The signals by which C libraries cancel threads: 32 of glibc's, 33 of musl's.
 *
 * musl's handler, and glibc's since 2.41, cancel a call only where it waits at the library's own `syscall`; elsewhere
 * they let it go on, for ever.  A call that trapped waits in the engine.  So these two handlers are called by ours,
 * which shows them the guest at its call, and lets the guest go where they send it; or unwind from there.
 */

#include <errno.h>
#include <signal.h>

#include "trap.h"

bool cancel_is_signal(long number)
{
    return number >= CANCEL_FIRST && number < CANCEL_FIRST + CANCEL_COUNT;
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

void cancel_on_signal(int number, siginfo_t *information, void *context, const struct disposition *action)
{
    void (*guest)(int, siginfo_t *, void *) = (void (*)(int, siginfo_t *, void *))action->handler;
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

long cancel_set(long number, const struct disposition *guest, struct disposition *old)
{
    struct disposition ours;
    if (!guest || guest->handler == (void *)SIG_DFL || guest->handler == (void *)SIG_IGN)
        return action_set(number, guest, NULL, old);
    ours = *guest;
    ours.handler = (void *)action_enter_cancel;
    signal_guard(1ull << (number - 1));
    return action_set(number, &ours, guest, old);
}
