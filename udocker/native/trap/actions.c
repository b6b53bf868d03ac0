/* What the guest has set for the signals whose handlers are the engine's.
 *
 * The kernel remembers it.  Beside the engine's handler stands, as the address to return to (SA_RESTORER), that of a
 * record which never changes; the kernel puts it on the handler's stack, and the handler returns by itself.  A table
 * here would be wrong in a child that shares our memory without our handlers (vfork(2), posix_spawn(3)), or after it:
 * what such a child sets is its own.
 */

#include <errno.h>
#include <signal.h>

#include "trap.h"

enum { RECORDS = 256, FREE = 0, TAKEN, WRITTEN };

static struct {
    struct disposition guest;
    int state;
} records[RECORDS];

static bool is_same(const struct disposition *one, const struct disposition *other)
{
    return one->handler == other->handler && one->flags == other->flags && one->restorer == other->restorer &&
           one->mask == other->mask;
}

/* NULL where there were too many different ones. */
static const struct disposition *record_of(const struct disposition *guest)
{
    static const struct disposition none = {0}; /* what every program begins with */
    if (is_same(guest, &none))
        return &none;
    for (int i = 0; i < RECORDS; i++) {
        int state = __atomic_load_n(&records[i].state, __ATOMIC_ACQUIRE);
        if (state == WRITTEN && is_same(&records[i].guest, guest))
            return &records[i].guest;
        if (state == FREE && __atomic_compare_exchange_n(&records[i].state, &state, TAKEN, false, __ATOMIC_ACQUIRE,
                                                         __ATOMIC_RELAXED)) {
            records[i].guest = *guest;
            __atomic_store_n(&records[i].state, WRITTEN, __ATOMIC_RELEASE);
            return &records[i].guest;
        }
    }
    return NULL;
}

/* A handler is called with its record behind the kernel's three arguments.  Of the two places that hold the address to
 * return to the kernel's shadow stack (CET) is the second. */
__asm__(".text\n"
        ".globl action_enter_sigsys, action_enter_cancel, action_enter_i386\n"
        ".hidden action_enter_sigsys, action_enter_cancel, action_enter_i386\n"
        "action_enter_i386:\n"
        "    pop %rcx\n"
        "    call i386_on_signal\n"
        "action_enter_sigsys:\n"
        "    pop %rcx\n"
        "    call signal_on_sigsys\n"
        "    jmp 1f\n"
        "action_enter_cancel:\n"
        "    pop %rcx\n"
        "    call cancel_on_signal\n"
        "1:  xor %eax, %eax\n"
        "    .byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8\n" /* rdsspq %rax, nothing where there is none */
        "    test %rax, %rax\n"
        "    jz 2f\n"
        "    mov $1, %eax\n"
        "    .byte 0xf3, 0x48, 0x0f, 0xae, 0xe8\n" /* incsspq %rax */
        "2:  mov $15, %eax\n"                      /* rt_sigreturn */
        "    syscall\n");

static bool is_ours(const struct disposition *action)
{
    return action->handler == (void *)action_enter_sigsys || action->handler == (void *)action_enter_cancel ||
           action->handler == (void *)action_enter_i386;
}

long action_set(long number, const struct disposition *ours, const struct disposition *guest, struct disposition *old)
{
    struct disposition action;
    if (ours) {
        action = *ours;
        if (is_ours(ours)) {
            action.flags |= 0x04000000ul; /* SA_RESTORER */
            action.restorer = (void *)(uintptr_t)record_of(guest);
            if (!action.restorer)
                return -ENOMEM;
        }
    }
    long result = sys_call4(SYS_rt_sigaction, number, ours ? &action : NULL, old, 8);
    if (result == 0 && old && is_ours(old))
        *old = *(const struct disposition *)old->restorer;
    return result;
}
