/* Calls that ask or change whose a file is, or make one, where root is emulated: root/root.h has the rules.
 *
 * The file is held by a descriptor, and looked at and changed through that.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>

#include "../path/numbers.h"
#include "trap.h"

/* ---- what is asked or done, of a descriptor and the call's own arguments ---- */

long owners_stat(long file, void *buffer)
{
    struct stat info;
    long result = root_file_stat(users_host(), file, &info);
    return result < 0 ? result : user_write(buffer, &info, sizeof info);
}

long owners_statx(long file, long flags, long mask, void *buffer)
{
    struct root_statx info;
    long result = root_file_statx(users_host(), file, (unsigned)flags, (unsigned)mask, &info);
    return result < 0 ? result : user_write(buffer, &info, sizeof info);
}

long owners_access(long file, long mode, bool effective)
{
    struct stat info;
    long result = root_file_stat(users_host(), file, &info);
    return result < 0 ? result : root_access(users_ids(), &info, (int)mode, effective);
}

static long ask_stat(long file, const struct call *entry, const long *a)
{
    return owners_stat(file, (void *)a[entry ? entry->path + 1 : 1]);
}

static long ask_statx(long file, const struct call *entry, const long *a)
{
    (void)entry;
    return owners_statx(file, a[2] & ~AT_SYMLINK_NOFOLLOW, a[3], (void *)a[4]);
}

static long do_chown(long file, const struct call *entry, const long *a)
{
    const long *numbers = a + (entry ? entry->path : 0) + 1;
    return root_file_chown(users_ids(), users_host(), file, (uint32_t)numbers[0], (uint32_t)numbers[1]);
}

static long do_chmod(long file, const struct call *entry, const long *a)
{
    struct stat info;
    if (sys_call2(SYS_fstat, file, &info) == 0 && S_ISLNK(info.st_mode))
        return -EOPNOTSUPP;
    return root_file_chmod(users_ids(), users_host(), file, (uint32_t)a[(entry ? entry->path : 0) + 1]);
}

static const struct question {
    short number;
    long (*make)(long file, const struct call *entry, const long *arguments);
    int known; /* flags */
    bool by_descriptor;
} QUESTIONS[] = {
    {SYS_newfstatat, ask_stat, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, false},
    {SYS_stat, ask_stat, 0, false},
    {SYS_lstat, ask_stat, 0, false},
    {SYS_statx, ask_statx, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE, false},
    {SYS_chown, do_chown, 0, false},
    {SYS_lchown, do_chown, 0, false},
    {SYS_fchownat, do_chown, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, false},
    {SYS_chmod, do_chmod, 0, false},
    {SYS_fchmodat, do_chmod, 0, false},
    {SYS_fchmodat2, do_chmod, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, false},
    {SYS_fstat, ask_stat, 0, true},
    {SYS_fchown, do_chown, 0, true},
    {SYS_fchmod, do_chmod, 0, true},
};

static const struct question *question_of(long number)
{
    for (size_t i = 0; i < sizeof QUESTIONS / sizeof *QUESTIONS; i++)
        if (QUESTIONS[i].number == number)
            return &QUESTIONS[i];
    return NULL;
}

static long host_open(int dirfd, const char *path, bool follow)
{
    return sys_call4(SYS_openat, dirfd, path, O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW), 0);
}

/* Without a descriptor that is free nothing can be looked at but what the host says. */
static long poor_call(const struct call *entry, const struct trapped *call, const struct held *held, bool follow)
{
    const long *a = call->arguments;
    struct root_statx wide;
    struct stat info;
    int flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
    if (call->number == SYS_statx) {
        long result = sys_call5(SYS_statx, held->dirfd, held->path, flags, a[3] | 0x1f, &wide);
        root_statx_show(users_host(), NULL, &wide);
        return result < 0 ? result : user_write((void *)a[4], &wide, sizeof wide);
    }
    if (call->number != SYS_stat && call->number != SYS_lstat && call->number != SYS_newfstatat)
        return -EMFILE;
    long result = sys_call4(SYS_newfstatat, held->dirfd, held->path, &info, flags);
    root_stat_show(users_host(), NULL, &info);
    return result < 0 ? result : user_write((void *)a[entry->path + 1], &info, sizeof info);
}

static long question_call(const struct call *entry, struct trapped *call, const struct question *question)
{
    struct held held;
    long *a = call->arguments;
    bool follow = engine_follows(entry, call);
    if (entry->flags >= 0 && ((int)a[entry->flags] & ~question->known))
        return -EINVAL;
    int result = engine_replace(entry, call, 0, (follow ? PATH_FOLLOW : 0) | HOLD_OBJECT, &held);
    if (result < 0)
        return result;
    bool by_file = result == 1 && entry->flags >= 0 && (a[entry->flags] & AT_EMPTY_PATH);
    if (result == 1 && !by_file)
        return reissue(call);
    long file = result == 0 ? held.file : a[entry->dirfd];
    long opened = -1;
    if (result == 0 && file < 0)
        file = opened = host_open(held.dirfd, held.path, follow);
    else if ((int)file == AT_FDCWD)
        file = opened = host_open(AT_FDCWD, ".", true);
    long done = file < 0 ? file : question->make((int)file, entry, a);
    if (result == 0 && (file == -EMFILE || file == -ENFILE))
        done = poor_call(entry, call, &held, follow);
    if (opened >= 0)
        sys_call1(SYS_close, opened);
    if (result == 0)
        hold_end(&held);
    return done;
}

/* ---- new files ---- */

/* A device is a file of its own kind to the container alone. */
static bool is_device(long number, uint32_t mode)
{
    return (number == SYS_mknod || number == SYS_mknodat) && (S_ISCHR(mode) || S_ISBLK(mode));
}

static long make_call(const struct call *entry, struct trapped *call)
{
    struct held held;
    long *a = call->arguments;
    bool is_directory = call->number == SYS_mkdir || call->number == SYS_mkdirat;
    uint32_t mode = (uint32_t)a[entry->path + 1] & 0xffff, device = (uint32_t)a[entry->path + 2];
    bool node = is_device(call->number, mode);
    if (node && !root_can(users_ids(), CAP_MKNOD))
        return -EPERM;
    int result = engine_replace(entry, call, 0, 0, &held);
    if (result != 0)
        return result < 0 ? result : reissue(call);
    a[entry->path + 1] = (long)((node ? S_IFREG : mode & S_IFMT) | root_new_mode(mode & 07777, is_directory));
    long done = reissue(call);
    if (done == 0 && (node || !root_new_is_plain(users_ids(), mode, is_directory))) {
        long file = host_open(held.dirfd, held.path, false);
        if (file >= 0) {
            root_file_made(users_ids(), users_host(), file, node ? mode : mode & 07777, device);
            sys_call1(SYS_close, file);
        }
    }
    hold_end(&held);
    return done;
}

bool owners_unlock(int dirfd, const char *guest)
{
    struct held held;
    if (hold(dirfd, guest, PATH_FOLLOW | HOLD_OBJECT | HOLD_CHANGES, &held) < 0)
        return false;
    if (held.read_only) {
        hold_end(&held);
        return false;
    }
    long opened = held.file < 0 ? host_open(held.dirfd, held.path, true) : -1;
    long file = held.file < 0 ? opened : held.file;
    bool unlocked = file >= 0 && root_file_unlock(users_ids(), users_host(), file);
    if (opened >= 0)
        sys_call1(SYS_close, opened);
    hold_end(&held);
    return unlocked;
}

bool owners_new_is_plain(uint64_t mode)
{
    return root_new_is_plain(users_ids(), (uint32_t)mode, false);
}

uint64_t owners_new_mode(uint64_t mode)
{
    return root_new_mode((uint32_t)mode, false);
}

void owners_made(long file, uint64_t mode)
{
    root_file_made(users_ids(), users_host(), file, (uint32_t)mode & 07777, 0);
}

/* ---- extended attributes: ours are not there ---- */

static const struct attribute {
    short number;
    int8_t name, list; /* arguments, -1 for none */
    bool sets;
    bool by_descriptor;
} ATTRIBUTES[] = {
    {SYS_setxattr, 1, -1, true, false},     {SYS_lsetxattr, 1, -1, true, false},    {SYS_fsetxattr, 1, -1, true, true},
    {SYS_getxattr, 1, -1, false, false},    {SYS_lgetxattr, 1, -1, false, false},   {SYS_fgetxattr, 1, -1, false, true},
    {SYS_removexattr, 1, -1, false, false}, {SYS_lremovexattr, 1, -1, false, false}, {SYS_fremovexattr, 1, -1, false, true},
    {SYS_listxattr, -1, 1, false, false},   {SYS_llistxattr, -1, 1, false, false},  {SYS_flistxattr, -1, 1, false, true},
    {SYS_setxattrat, 3, -1, true, false},   {SYS_getxattrat, 3, -1, false, false},  {SYS_removexattrat, 3, -1, false, false},
    {SYS_listxattrat, -1, 3, false, false},
};

static const struct attribute *attribute_of(long number)
{
    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++)
        if (ATTRIBUTES[i].number == number)
            return &ATTRIBUTES[i];
    return NULL;
}

/* Whether the call names one of ours; then what it is told. */
static bool is_refused(const struct attribute *attribute, const struct trapped *call, long *result)
{
    char name[PATH_SIZE];
    if (attribute->name < 0 || user_string(name, (const char *)call->arguments[attribute->name]) < 0)
        return false;
    *result = attribute->sets ? -EPERM : -ENODATA;
    return root_attribute_is_hidden(name);
}

void owners_hide(const struct trapped *call, long *result)
{
    const struct attribute *attribute = attribute_of(call->number);
    if (!attribute || attribute->list < 0 || *result <= 0 || call->arguments[attribute->list + 1] == 0)
        return;
    *result = (long)root_attributes_hide((char *)call->arguments[attribute->list], (size_t)*result);
}

/* ---- the calls ---- */

short owners_call_number(size_t place)
{
    for (size_t i = 0; i < sizeof QUESTIONS / sizeof *QUESTIONS; i++)
        if (QUESTIONS[i].by_descriptor && place-- == 0)
            return QUESTIONS[i].number;
    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++)
        if (ATTRIBUTES[i].by_descriptor && place-- == 0)
            return ATTRIBUTES[i].number;
    return -1;
}

/* What is open only as a place of the path cannot be changed by that: open(2), O_PATH. */
static bool is_place(long file)
{
    long flags = sys_call2(SYS_fcntl, file, F_GETFL);
    return flags >= 0 && (flags & O_PATH);
}

bool owners_descriptor_call(const struct trapped *call, long *result)
{
    const struct question *question = question_of(call->number);
    const struct attribute *attribute = attribute_of(call->number);
    if (question) {
        int file = (int)call->arguments[0];
        bool closed = question->make != ask_stat && is_place(file);
        *result = closed ? -EBADF : question->make(file, NULL, call->arguments);
        return true;
    }
    return attribute && is_refused(attribute, call, result);
}

bool owners_call(const struct call *entry, struct trapped *call, long *result)
{
    const struct question *question = question_of(call->number);
    const struct attribute *attribute = attribute_of(call->number);
    if (question) {
        *result = question_call(entry, call, question);
        return true;
    }
    if (attribute)
        return is_refused(attribute, call, result);
    if (call->number != SYS_mkdir && call->number != SYS_mkdirat && call->number != SYS_mknod &&
        call->number != SYS_mknodat)
        return false;
    *result = make_call(entry, call);
    return true;
}

/* access(2) of a path that the caller has access to: `held` is its place. */
long owners_held_access(const struct held *held, const struct call *entry, const struct trapped *call)
{
    bool effective = call->number == SYS_faccessat2 && (call->arguments[3] & AT_EACCESS);
    long file = host_open(held->dirfd, held->path, engine_follows(entry, call));
    if (file < 0)
        return 0; /* no descriptor is free, and the host has said that it may */
    long result = owners_access(file, call->arguments[entry->path + 1], effective);
    sys_call1(SYS_close, file);
    return result;
}
