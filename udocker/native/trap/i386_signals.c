/* Calls of 32-bit programs about signals: actions, and masks, in which SIGSYS must never be (signals.c). */

#include <errno.h>

#include "i386.h"

static long action_put(long number, struct disposition *new, struct disposition *old)
{
    struct disposition ours;
    if (new && !engine.tracing)
        new->mask &= ~SIGSYS_BIT;
    if (number == SIGSYS && !engine.tracing)
        return sigsys_set(new, old);
    if (!new || new->handler == (void *)SIG_DFL || new->handler == (void *)SIG_IGN)
        return action_set(number, new, NULL, old);
    ours = *new;
    ours.handler = (void *)action_enter_i386;
    ours.flags |= SA_SIGINFO;
    return action_set(number, &ours, new, old);
}

struct action_narrow { /* of rt_sigaction(2) */
    uint32_t handler, flags, restorer;
    uint64_t mask;
} __attribute__((packed, aligned(4)));

struct action_old {
    uint32_t handler, mask, flags, restorer;
};

/* Of rt_sigaction(2), or of the older sigaction(2). */
union action_form {
    struct action_narrow narrow;
    struct action_old old;
};

static void *pointer(uint32_t address)
{
    return (void *)(uintptr_t)address;
}

static struct disposition form_read(const union action_form *form, bool is_old)
{
    const struct action_narrow *narrow = &form->narrow;
    const struct action_old *old = &form->old;
    return is_old ? (struct disposition){pointer(old->handler), old->flags, pointer(old->restorer), old->mask}
                  : (struct disposition){pointer(narrow->handler), narrow->flags, pointer(narrow->restorer), narrow->mask};
}

static union action_form form_of(const struct disposition *action, bool is_old)
{
    uint32_t handler = (uint32_t)(uintptr_t)action->handler, restorer = (uint32_t)(uintptr_t)action->restorer;
    uint32_t flags = (uint32_t)action->flags;
    return is_old ? (union action_form){.old = {handler, (uint32_t)action->mask, flags, restorer}}
                  : (union action_form){.narrow = {handler, flags, restorer, action->mask}};
}

static long action_exchange(const struct trapped *call, bool is_old)
{
    const long *a = call->arguments;
    size_t size = is_old ? sizeof(struct action_old) : sizeof(struct action_narrow);
    union action_form form;
    struct disposition new = {0}, old;
    if (a[1]) {
        if (user_read(&form, (const void *)a[1], size) < 0)
            return -EFAULT;
        new = form_read(&form, is_old);
    }
    long result = action_put((int)a[0], a[1] ? &new : NULL, &old);
    if (result < 0 || !a[2])
        return result;
    form = form_of(&old, is_old);
    return user_write((void *)a[2], &form, size);
}

I386_MAKES(i386_action)
{
    (void)entry;
    return call->arguments[3] != 8 ? -EINVAL : action_exchange(call, false);
}

I386_MAKES(i386_old_action)
{
    (void)entry;
    return action_exchange(call, true);
}

I386_MAKES(i386_signal)
{
    (void)entry;
    const long *a = call->arguments;
    struct disposition new = {(void *)a[1], SA_RESETHAND | SA_NODEFER, NULL, 0}, old;
    long result = action_put((int)a[0], &new, &old);
    return result < 0 ? result : (long)(uintptr_t)old.handler;
}

/* Masks of 32 signals: the others stay as they are. */
static uint64_t mask_now(void)
{
    uint64_t now = 0;
    sys_call4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, 8);
    return now;
}

static void mask_put(uint64_t now, uint32_t low)
{
    uint64_t mask = (now & ~(uint64_t)UINT32_MAX) | (low & ~SIGSYS_BIT);
    sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
}

I386_MAKES(i386_set_mask)
{
    (void)entry;
    uint64_t now = mask_now();
    mask_put(now, (uint32_t)call->arguments[0]);
    return (uint32_t)now;
}

I386_MAKES(i386_old_mask)
{
    (void)entry;
    const long *a = call->arguments;
    uint64_t now = mask_now();
    uint32_t set, low = (uint32_t)now;
    if (a[1]) {
        if (user_read(&set, (const void *)a[1], sizeof set) < 0)
            return -EFAULT;
        if (a[0] != SIG_BLOCK && a[0] != SIG_UNBLOCK && a[0] != SIG_SETMASK)
            return -EINVAL;
        mask_put(now, a[0] == SIG_BLOCK ? low | set : a[0] == SIG_UNBLOCK ? low & ~set : set);
    }
    return a[2] ? user_write((void *)a[2], &low, sizeof low) : 0;
}

I386_MAKES(i386_suspend)
{
    uint64_t mask = (mask_now() & ~(uint64_t)UINT32_MAX) | (uint32_t)call->arguments[2];
    const long arguments[6] = {(long)&mask, sizeof mask};
    return i386_as(call, entry->twin, arguments);
}

/* A copy of a mask, without SIGSYS, that the kernel can read as i386's. */
static int mask_lend(const struct trapped *call, uint32_t guest, uintptr_t *lent)
{
    uint64_t mask;
    if (user_read(&mask, (const void *)(uintptr_t)guest, sizeof mask) < 0)
        return -EFAULT;
    *lent = i386_lend(call, sizeof mask + 8);
    if (!*lent)
        return -ENOMEM;
    mask &= ~SIGSYS_BIT;
    return user_write((void *)*lent, &mask, sizeof mask);
}

I386_MAKES(i386_poll)
{
    (void)entry;
    uintptr_t mask;
    long arguments[6];
    for (int i = 0; i < 6; i++)
        arguments[i] = call->arguments[i];
    if (arguments[3]) {
        int result = mask_lend(call, (uint32_t)arguments[3], &mask);
        if (result < 0)
            return result;
        arguments[3] = (long)mask;
    }
    return i386_raw(call->number, arguments);
}

I386_MAKES(i386_select)
{
    (void)entry;
    uintptr_t mask;
    struct {
        uint32_t mask, size;
    } pair;
    long arguments[6];
    for (int i = 0; i < 6; i++)
        arguments[i] = call->arguments[i];
    if (arguments[5] && user_read(&pair, (const void *)arguments[5], sizeof pair) < 0)
        return -EFAULT;
    if (arguments[5] && pair.mask) {
        int result = mask_lend(call, pair.mask, &mask);
        if (result < 0)
            return result;
        pair.mask = (uint32_t)mask;
        result = user_write((void *)(mask + 8), &pair, sizeof pair);
        if (result < 0)
            return result;
        arguments[5] = (long)mask + 8;
    }
    return i386_raw(call->number, arguments);
}
