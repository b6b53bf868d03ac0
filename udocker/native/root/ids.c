/* Who a process is: credentials(7), setuid(2), setresuid(2), setgroups(2) and their kin. */

#include "root.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include "../path/sys.h"

/* What docker gives to root: not so much that a program would mount, load modules or set the clock. */
#define BIT(capability) (1ull << (capability))
#define DOCKERS \
    (BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FSETID) | BIT(CAP_FOWNER) | BIT(CAP_MKNOD) | BIT(CAP_NET_RAW) | \
     BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_SETFCAP) | BIT(CAP_SETPCAP) | BIT(CAP_NET_BIND_SERVICE) | \
     BIT(CAP_SYS_CHROOT) | BIT(CAP_KILL) | BIT(CAP_AUDIT_WRITE))

static const uint32_t NONE = (uint32_t)-1; /* no number; in arguments: as it is */

bool root_can(const struct root_ids *ids, int capability)
{
    return ids->sets[ROOT_CAN] & BIT(capability);
}

bool root_in_group(const struct root_ids *ids, uint32_t gid)
{
    for (uint32_t i = 0; i < ids->group_count; i++)
        if (ids->groups[i] == gid)
            return true;
    return ids->gid[ROOT_FILES] == gid;
}

void root_ids_start(struct root_ids *ids, uint32_t uid, uint32_t gid)
{
    *ids = (struct root_ids){0};
    for (int role = 0; role < ROOT_ROLES; role++) {
        ids->uid[role] = uid;
        ids->gid[role] = gid;
    }
    ids->sets[ROOT_BOUNDING] = DOCKERS;
    if (uid == 0)
        ids->sets[ROOT_PERMITTED] = ids->sets[ROOT_CAN] = DOCKERS;
}

void root_ids_exec(struct root_ids *ids, uint32_t mode, uint32_t uid, uint32_t gid)
{
    bool gains = false;
    if (!ids->no_new_privileges) {
        gains = (mode & S_ISUID) || ((mode & S_ISGID) && (mode & S_IXGRP));
        if (mode & S_ISUID)
            ids->uid[ROOT_EFFECTIVE] = uid;
        if ((mode & S_ISGID) && (mode & S_IXGRP))
            ids->gid[ROOT_EFFECTIVE] = gid;
    }
    ids->uid[ROOT_SAVED] = ids->uid[ROOT_FILES] = ids->uid[ROOT_EFFECTIVE];
    ids->gid[ROOT_SAVED] = ids->gid[ROOT_FILES] = ids->gid[ROOT_EFFECTIVE];
    if (gains)
        ids->sets[ROOT_AMBIENT] = 0;
    bool is_root = ids->uid[ROOT_REAL] == 0 || ids->uid[ROOT_EFFECTIVE] == 0;
    uint64_t all = ids->sets[ROOT_INHERITABLE] | ids->sets[ROOT_BOUNDING];
    if (ids->secure & 1 /* SECBIT_NOROOT */)
        is_root = false;
    ids->sets[ROOT_PERMITTED] = is_root ? all : ids->sets[ROOT_AMBIENT];
    ids->sets[ROOT_CAN] = is_root && ids->uid[ROOT_EFFECTIVE] == 0 ? all : ids->sets[ROOT_AMBIENT];
    ids->secure &= ~16u; /* SECBIT_KEEP_CAPS */
}

/* ---- as text, for the next engine ---- */

struct text {
    char *at;
};

static void put(struct text *text, uint64_t number)
{
    static const char digits[] = "0123456789abcdef";
    char reversed[16];
    size_t count = 0;
    do
        reversed[count++] = digits[number % 16];
    while (number /= 16);
    while (count > 0)
        *text->at++ = reversed[--count];
    *text->at++ = ',';
}

size_t root_ids_write(const struct root_ids *ids, const struct root_host *host, char start[ROOT_IDS_TEXT])
{
    struct text text = {start};
    for (int i = 0; i < 2; i++) {
        put(&text, host->uid[i]);
        put(&text, host->gid[i]);
    }
    for (int role = 0; role < ROOT_ROLES; role++) {
        put(&text, ids->uid[role]);
        put(&text, ids->gid[role]);
    }
    for (int set = 0; set < ROOT_SETS; set++)
        put(&text, ids->sets[set]);
    put(&text, ids->secure);
    put(&text, ids->no_new_privileges);
    put(&text, ids->group_count);
    for (uint32_t i = 0; i < ids->group_count; i++)
        put(&text, ids->groups[i]);
    return (size_t)(text.at - start);
}

/* Reads one number and the comma after it; false where there is none. */
static bool take(const char **at, uint64_t *number)
{
    const char *start = *at;
    for (*number = 0;; (*at)++) {
        if (**at >= '0' && **at <= '9')
            *number = *number * 16 + (uint64_t)(**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            *number = *number * 16 + (uint64_t)(**at - 'a' + 10);
        else
            break;
    }
    return *at > start && *(*at)++ == ',';
}

static bool take_small(const char **at, uint32_t *number)
{
    uint64_t value;
    bool taken = take(at, &value);
    *number = (uint32_t)value;
    return taken;
}

int root_ids_read(struct root_ids *ids, struct root_host *host, const char *text)
{
    const char *at = text;
    uint32_t flag = 0;
    bool good = true;
    *ids = (struct root_ids){0};
    for (int i = 0; i < 2; i++)
        good = good && take_small(&at, &host->uid[i]) && take_small(&at, &host->gid[i]);
    for (int role = 0; role < ROOT_ROLES; role++)
        good = good && take_small(&at, &ids->uid[role]) && take_small(&at, &ids->gid[role]);
    for (int set = 0; set < ROOT_SETS; set++)
        good = good && take(&at, &ids->sets[set]);
    good = good && take_small(&at, &ids->secure) && take_small(&at, &flag) && take_small(&at, &ids->group_count);
    ids->no_new_privileges = flag;
    good = good && ids->group_count <= ROOT_GROUPS;
    for (uint32_t i = 0; good && i < ids->group_count; i++)
        good = take_small(&at, &ids->groups[i]);
    return good ? (int)(at - text) : -EINVAL;
}

/* ---- calls ---- */

struct request {
    struct root_ids *ids;
    const struct root_caller *caller;
    const long *arguments;
};

static long get(const uint32_t *numbers, enum root_role role)
{
    return (long)numbers[role];
}

static long get_three(const struct request *request, const uint32_t *numbers)
{
    for (int role = ROOT_REAL; role <= ROOT_SAVED; role++) {
        int result = request->caller->write(request->caller->context, (uint64_t)request->arguments[role], &numbers[role],
                                            sizeof numbers[role]);
        if (result < 0)
            return result;
    }
    return 0;
}

static bool has(const uint32_t *numbers, uint32_t number, int roles)
{
    for (int role = 0; role < roles; role++)
        if (numbers[role] == number)
            return true;
    return false;
}

static void copy(uint32_t *target, const uint32_t *source)
{
    for (int role = 0; role < ROOT_ROLES; role++)
        target[role] = source[role];
}

/* setuid(2): all of them for who may, else the effective one. */
static int set_one(uint32_t *numbers, uint32_t wanted, bool may)
{
    if (wanted == NONE)
        return -EINVAL;
    if (!may && wanted != numbers[ROOT_REAL] && wanted != numbers[ROOT_SAVED])
        return -EPERM;
    if (may)
        numbers[ROOT_REAL] = numbers[ROOT_SAVED] = wanted;
    numbers[ROOT_EFFECTIVE] = numbers[ROOT_FILES] = wanted;
    return 0;
}

/* setreuid(2) */
static int set_two(uint32_t *numbers, uint32_t real, uint32_t effective, bool may)
{
    uint32_t old = numbers[ROOT_REAL];
    if (real != NONE && !may && !has(numbers, real, ROOT_SAVED))
        return -EPERM;
    if (effective != NONE && !may && !has(numbers, effective, ROOT_FILES))
        return -EPERM;
    if (real != NONE)
        numbers[ROOT_REAL] = real;
    if (effective != NONE)
        numbers[ROOT_EFFECTIVE] = effective;
    if (real != NONE || (effective != NONE && effective != old))
        numbers[ROOT_SAVED] = numbers[ROOT_EFFECTIVE];
    numbers[ROOT_FILES] = numbers[ROOT_EFFECTIVE];
    return 0;
}

/* setresuid(2) */
static int set_three(uint32_t *numbers, const long *wanted, bool may)
{
    for (int role = ROOT_REAL; role <= ROOT_SAVED; role++)
        if ((uint32_t)wanted[role] != NONE && !may && !has(numbers, (uint32_t)wanted[role], ROOT_FILES))
            return -EPERM;
    for (int role = ROOT_REAL; role <= ROOT_SAVED; role++)
        if ((uint32_t)wanted[role] != NONE)
            numbers[role] = (uint32_t)wanted[role];
    numbers[ROOT_FILES] = numbers[ROOT_EFFECTIVE];
    return 0;
}

/* setfsuid(2), which answers what it was */
static long set_files(uint32_t *numbers, uint32_t wanted, bool may)
{
    uint32_t old = numbers[ROOT_FILES];
    if (wanted != NONE && (may || has(numbers, wanted, ROOT_ROLES)))
        numbers[ROOT_FILES] = wanted;
    return (long)old;
}

static long set_user(const struct request *request, long number)
{
    struct root_ids *ids = request->ids;
    const long *a = request->arguments;
    uint32_t old[ROOT_ROLES];
    bool may = root_can(ids, CAP_SETUID);
    long result;
    copy(old, ids->uid);
    if (number == SYS_setuid)
        result = set_one(ids->uid, (uint32_t)a[0], may);
    else if (number == SYS_setreuid)
        result = set_two(ids->uid, (uint32_t)a[0], (uint32_t)a[1], may);
    else if (number == SYS_setresuid)
        result = set_three(ids->uid, a, may);
    else
        result = set_files(ids->uid, (uint32_t)a[0], may);
    root_capabilities_follow(ids, old);
    return result;
}

static long set_group(const struct request *request, long number)
{
    struct root_ids *ids = request->ids;
    const long *a = request->arguments;
    bool may = root_can(ids, CAP_SETGID);
    if (number == SYS_setgid)
        return set_one(ids->gid, (uint32_t)a[0], may);
    if (number == SYS_setregid)
        return set_two(ids->gid, (uint32_t)a[0], (uint32_t)a[1], may);
    return number == SYS_setresgid ? set_three(ids->gid, a, may) : set_files(ids->gid, (uint32_t)a[0], may);
}

static long get_groups(const struct request *request)
{
    const struct root_ids *ids = request->ids;
    long room = (int)request->arguments[0], count = (long)ids->group_count;
    if (room < 0 || (room > 0 && room < count))
        return -EINVAL;
    int result = room == 0 ? 0
                           : request->caller->write(request->caller->context, (uint64_t)request->arguments[1], ids->groups,
                                                    (size_t)count * sizeof *ids->groups);
    return result < 0 ? result : count;
}

static long set_groups(const struct request *request)
{
    struct root_ids *ids = request->ids;
    unsigned long count = (unsigned)request->arguments[0];
    uint32_t groups[ROOT_GROUPS];
    if (!root_can(ids, CAP_SETGID))
        return -EPERM;
    if (count > ROOT_GROUPS)
        return -EINVAL;
    int result = request->caller->read(request->caller->context, groups, (uint64_t)request->arguments[1],
                                       count * sizeof *groups);
    if (result < 0)
        return result;
    for (unsigned long i = 0; i < count; i++)
        if (groups[i] == NONE)
            return -EINVAL;
    bytes_copy((char *)ids->groups, (const char *)groups, count * sizeof *groups);
    ids->group_count = (uint32_t)count;
    return 0;
}

const short root_id_calls[] = {
    SYS_getuid,    SYS_geteuid,   SYS_getgid,    SYS_getegid,  SYS_getresuid, SYS_getresgid, SYS_setuid,
    SYS_setreuid,  SYS_setresuid, SYS_setfsuid,  SYS_setgid,   SYS_setregid,  SYS_setresgid, SYS_setfsgid,
    SYS_getgroups, SYS_setgroups, SYS_capget,    SYS_capset,   SYS_prctl,
};
const size_t root_id_call_count = sizeof root_id_calls / sizeof *root_id_calls;

long root_id_call(struct root_ids *ids, const struct root_caller *caller, long number, const long *arguments)
{
    struct request request = {ids, caller, arguments};
    switch (number) {
    case SYS_getuid:
        return get(ids->uid, ROOT_REAL);
    case SYS_geteuid:
        return get(ids->uid, ROOT_EFFECTIVE);
    case SYS_getgid:
        return get(ids->gid, ROOT_REAL);
    case SYS_getegid:
        return get(ids->gid, ROOT_EFFECTIVE);
    case SYS_getresuid:
        return get_three(&request, ids->uid);
    case SYS_getresgid:
        return get_three(&request, ids->gid);
    case SYS_setuid:
    case SYS_setreuid:
    case SYS_setresuid:
    case SYS_setfsuid:
        return set_user(&request, number);
    case SYS_setgid:
    case SYS_setregid:
    case SYS_setresgid:
    case SYS_setfsgid:
        return set_group(&request, number);
    case SYS_getgroups:
        return get_groups(&request);
    case SYS_setgroups:
        return set_groups(&request);
    default:
        return root_capability_call(ids, caller, number, arguments);
    }
}
