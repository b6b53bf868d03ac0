/* What a process may do beside what its numbers say: capabilities(7). */

#include "root.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <sys/syscall.h>

enum { LAST = CAP_CHECKPOINT_RESTORE };

/* Those about files, which follow the number for files alone. */
static const uint64_t OF_FILES = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH |
                                 1ull << CAP_FOWNER | 1ull << CAP_FSETID | 1ull << CAP_LINUX_IMMUTABLE |
                                 1ull << CAP_MKNOD | 1ull << CAP_MAC_OVERRIDE;

static bool is_any_root(const uint32_t *numbers)
{
    return numbers[ROOT_REAL] == 0 || numbers[ROOT_EFFECTIVE] == 0 || numbers[ROOT_SAVED] == 0;
}

static bool has_secure(const struct root_ids *ids, unsigned bit)
{
    return ids->secure & 1u << bit;
}

void root_capabilities_follow(struct root_ids *ids, const uint32_t old[ROOT_ROLES])
{
    uint64_t *sets = ids->sets;
    if (has_secure(ids, SECURE_NO_SETUID_FIXUP))
        return;
    if (is_any_root(old) && !is_any_root(ids->uid)) {
        if (!has_secure(ids, SECURE_KEEP_CAPS))
            sets[ROOT_PERMITTED] = sets[ROOT_CAN] = 0;
        sets[ROOT_AMBIENT] = 0;
    }
    if (old[ROOT_EFFECTIVE] == 0 && ids->uid[ROOT_EFFECTIVE] != 0)
        sets[ROOT_CAN] = 0;
    if (old[ROOT_EFFECTIVE] != 0 && ids->uid[ROOT_EFFECTIVE] == 0)
        sets[ROOT_CAN] = sets[ROOT_PERMITTED];
    if (old[ROOT_EFFECTIVE] != ids->uid[ROOT_EFFECTIVE])
        return;
    if (old[ROOT_FILES] == 0 && ids->uid[ROOT_FILES] != 0)
        sets[ROOT_CAN] &= ~OF_FILES;
    if (old[ROOT_FILES] != 0 && ids->uid[ROOT_FILES] == 0)
        sets[ROOT_CAN] |= sets[ROOT_PERMITTED] & OF_FILES;
}

/* ---- capget(2), capset(2) ---- */

struct words {
    struct __user_cap_data_struct halves[2];
};

/* How many halves a version has, 0 for one that is not known; then the program is told the best one. */
static int halves_of(const struct root_caller *caller, uint64_t address, struct __user_cap_header_struct *header)
{
    static const uint32_t best = _LINUX_CAPABILITY_VERSION_3;
    int result = caller->read(caller->context, header, address, sizeof *header);
    if (result < 0)
        return result;
    if (header->version == _LINUX_CAPABILITY_VERSION_1)
        return 1;
    if (header->version == _LINUX_CAPABILITY_VERSION_2 || header->version == _LINUX_CAPABILITY_VERSION_3)
        return 2;
    result = caller->write(caller->context, address, &best, sizeof best);
    return result < 0 ? result : 0;
}

static long capabilities_get(const struct root_ids *ids, const struct root_caller *caller, const long *a)
{
    struct __user_cap_header_struct header;
    struct words words;
    int halves = halves_of(caller, (uint64_t)a[0], &header);
    if (halves < 0)
        return halves;
    if (halves == 0)
        return a[1] ? -EINVAL : 0;
    if (header.pid != 0 && header.pid != caller->process && header.pid != caller->thread)
        return ROOT_OTHER;
    for (int half = 0; half < 2; half++) {
        words.halves[half].effective = (uint32_t)(ids->sets[ROOT_CAN] >> 32 * half);
        words.halves[half].permitted = (uint32_t)(ids->sets[ROOT_PERMITTED] >> 32 * half);
        words.halves[half].inheritable = (uint32_t)(ids->sets[ROOT_INHERITABLE] >> 32 * half);
    }
    return a[1] ? caller->write(caller->context, (uint64_t)a[1], &words, (size_t)halves * sizeof *words.halves) : 0;
}

static uint64_t joined(const uint32_t *low, const uint32_t *high)
{
    return (*low | (uint64_t)*high << 32) & ((1ull << (LAST + 1)) - 1);
}

static long capabilities_set(struct root_ids *ids, const struct root_caller *caller, const long *a)
{
    struct __user_cap_header_struct header;
    struct words words = {0};
    int halves = halves_of(caller, (uint64_t)a[0], &header);
    if (halves <= 0)
        return halves < 0 ? halves : -EINVAL;
    if (header.pid != 0 && header.pid != caller->process && header.pid != caller->thread)
        return -EPERM;
    int result = caller->read(caller->context, &words, (uint64_t)a[1], (size_t)halves * sizeof *words.halves);
    if (result < 0)
        return result;
    uint64_t effective = joined(&words.halves[0].effective, &words.halves[1].effective);
    uint64_t permitted = joined(&words.halves[0].permitted, &words.halves[1].permitted);
    uint64_t inheritable = joined(&words.halves[0].inheritable, &words.halves[1].inheritable);
    uint64_t *sets = ids->sets, reach = sets[ROOT_INHERITABLE] | sets[ROOT_BOUNDING];
    if (!root_can(ids, CAP_SETPCAP))
        reach = sets[ROOT_INHERITABLE] | sets[ROOT_PERMITTED];
    if ((permitted & ~sets[ROOT_PERMITTED]) || (effective & ~permitted) || (inheritable & ~reach))
        return -EPERM;
    sets[ROOT_CAN] = effective;
    sets[ROOT_PERMITTED] = permitted;
    sets[ROOT_INHERITABLE] = inheritable;
    sets[ROOT_AMBIENT] &= permitted & inheritable;
    return 0;
}

/* ---- prctl(2) ---- */

static long bounding_drop(struct root_ids *ids, unsigned long which)
{
    if (!root_can(ids, CAP_SETPCAP))
        return -EPERM;
    if (which > LAST)
        return -EINVAL;
    ids->sets[ROOT_BOUNDING] &= ~(1ull << which);
    return 0;
}

static long secure_set(struct root_ids *ids, unsigned long bits)
{
    unsigned locked = (ids->secure & SECURE_ALL_LOCKS) >> 1;
    bool changes_locked = locked & (ids->secure ^ bits), unlocks = ids->secure & SECURE_ALL_LOCKS & ~bits;
    if (changes_locked || unlocks || (bits & ~(unsigned long)(SECURE_ALL_BITS | SECURE_ALL_LOCKS)) ||
        !root_can(ids, CAP_SETPCAP))
        return -EPERM;
    ids->secure = (uint32_t)bits;
    return 0;
}

static long keep_set(struct root_ids *ids, unsigned long keep)
{
    if (keep > 1)
        return -EINVAL;
    if (has_secure(ids, SECURE_KEEP_CAPS_LOCKED))
        return -EPERM;
    ids->secure = (ids->secure & ~(1u << SECURE_KEEP_CAPS)) | (uint32_t)keep << SECURE_KEEP_CAPS;
    return 0;
}

static long ambient(struct root_ids *ids, const long *a)
{
    uint64_t *sets = ids->sets, bit = 1ull << (a[2] & 63);
    if (a[3] || a[4] || (a[1] == PR_CAP_AMBIENT_CLEAR_ALL ? a[2] != 0 : (unsigned long)a[2] > LAST))
        return -EINVAL;
    switch (a[1]) {
    case PR_CAP_AMBIENT_CLEAR_ALL:
        sets[ROOT_AMBIENT] = 0;
        return 0;
    case PR_CAP_AMBIENT_IS_SET:
        return (sets[ROOT_AMBIENT] & bit) != 0;
    case PR_CAP_AMBIENT_LOWER:
        sets[ROOT_AMBIENT] &= ~bit;
        return 0;
    case PR_CAP_AMBIENT_RAISE:
        if (!(sets[ROOT_PERMITTED] & sets[ROOT_INHERITABLE] & bit) || has_secure(ids, SECURE_NO_CAP_AMBIENT_RAISE))
            return -EPERM;
        sets[ROOT_AMBIENT] |= bit;
        return 0;
    default:
        return -EINVAL;
    }
}

static long process_control(struct root_ids *ids, const long *a)
{
    switch ((int)a[0]) {
    case PR_GET_KEEPCAPS:
        return has_secure(ids, SECURE_KEEP_CAPS);
    case PR_SET_KEEPCAPS:
        return keep_set(ids, (unsigned long)a[1]);
    case PR_CAPBSET_READ:
        return (unsigned long)a[1] > LAST ? -EINVAL : (long)(ids->sets[ROOT_BOUNDING] >> a[1] & 1);
    case PR_CAPBSET_DROP:
        return bounding_drop(ids, (unsigned long)a[1]);
    case PR_GET_SECUREBITS:
        return (long)ids->secure;
    case PR_SET_SECUREBITS:
        return secure_set(ids, (unsigned long)a[1]);
    case PR_CAP_AMBIENT:
        return ambient(ids, a);
    case PR_SET_NO_NEW_PRIVS:
        ids->no_new_privileges = ids->no_new_privileges || a[1] == 1;
        return ROOT_OTHER;
    default:
        return ROOT_OTHER;
    }
}

long root_capability_call(struct root_ids *ids, const struct root_caller *caller, long number, const long *arguments)
{
    if (number == SYS_capget)
        return capabilities_get(ids, caller, arguments);
    if (number == SYS_capset)
        return capabilities_set(ids, caller, arguments);
    return number == SYS_prctl ? process_control(ids, arguments) : ROOT_OTHER;
}
