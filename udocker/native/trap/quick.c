/* The calls that programs make most, with paths that are not long: a few calls of the kernel, and little memory.
 *
 * A file is opened by openat2(2) with RESOLVE_NO_SYMLINKS, and then asked by its descriptor what the guest asks,
 * so that no path is looked up twice.  How links are followed is shortcut.c's; what needs more is left to the walk,
 * for nothing has happened yet.
 */

#include <errno.h>
#include <fcntl.h>

#include "../path/numbers.h"
#include "quick.h"

enum { LARGE_FILE = 0100000 /* O_LARGEFILE, which means nothing here */ };

/* ---- what is asked of the file ---- */

static long stat_ask(const struct trapped *call, long file)
{
    const long *a = call->arguments;
    long buffer = a[call->number == SYS_newfstatat ? 2 : 1];
    return engine.root ? owners_stat(file, (void *)buffer) : sys_call2(SYS_fstat, file, buffer);
}

static long statx_ask(const struct trapped *call, long file)
{
    const long *a = call->arguments;
    long flags = (a[2] & ~AT_SYMLINK_NOFOLLOW) | AT_EMPTY_PATH;
    if (engine.root)
        return owners_statx(file, flags, a[3], (void *)a[4]);
    return sys_call5(SYS_statx, file, "", flags, a[3], a[4]);
}

static long access_ask(const struct trapped *call, long file)
{
    const long *a = call->arguments;
    long mode = a[call->number == SYS_access ? 1 : 2];
    long flags = call->number == SYS_faccessat2 ? a[3] & AT_EACCESS : 0;
    long result = sys_call4(SYS_faccessat2, file, "", mode, flags | AT_EMPTY_PATH);
    return engine.root && result == 0 ? owners_access(file, mode, flags) : result;
}

static long readlink_ask(const struct trapped *call, long file)
{
    const long *a = call->arguments;
    size_t place = call->number == SYS_readlink ? 1 : 2;
    long size = sys_call4(SYS_readlinkat, file, "", a[place], a[place + 1]);
    return size == -ENOENT ? -EINVAL : size; /* what a descriptor of no link is called */
}

static long chdir_ask(const struct trapped *call, long file)
{
    (void)call;
    return sys_call1(SYS_fchdir, file);
}

static const struct question {
    short number;
    long (*ask)(const struct trapped *call, long file); /* NULL for open, which asks nothing more */
    int8_t flags;                                      /* their argument, and those that are known */
    int known;
} QUESTIONS[] = {
    {SYS_openat, NULL, -1, 0},
    {SYS_open, NULL, -1, 0},
    {SYS_newfstatat, stat_ask, 3, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH},
    {SYS_stat, stat_ask, -1, 0},
    {SYS_lstat, stat_ask, -1, 0},
    {SYS_access, access_ask, -1, 0},
    {SYS_faccessat, access_ask, -1, 0},
    {SYS_faccessat2, access_ask, 3, AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH},
    {SYS_readlink, readlink_ask, -1, 0},
    {SYS_readlinkat, readlink_ask, -1, 0},
    {SYS_chdir, chdir_ask, -1, 0},
    {SYS_statx, statx_ask, 2, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE},
};

/* A question as it is tried on a path: quick_absolute. */
struct asked {
    const struct trapped *call;
    const struct question *question;
};

static bool is_decided(long result)
{
    return result >= 0 || result == -ENOENT || result == -ENOTDIR || result == -EACCES;
}

static bool ask(const struct quick *quick, const struct asked *asked, const char *path, long *result)
{
    uint64_t flags = O_PATH | O_CLOEXEC | (quick->follow ? 0 : O_NOFOLLOW);
    if (asked->question->ask == chdir_ask)
        flags |= O_DIRECTORY; /* only so is one mounted that waits to be: autofs(5) */
    long file = quick_open(quick->dirfd, path, flags, 0);
    *result = file;
    if (file < 0)
        return is_decided(file);
    *result = asked->question->ask(asked->call, file);
    sys_call1(SYS_close, file);
    return *result != -ENOSYS;
}

static bool open_file(const struct quick *quick, const struct trapped *call, const char *path, long *result)
{
    size_t place = call->number == SYS_open ? 1 : 2;
    uint64_t flags = (uint32_t)call->arguments[place] & ~(uint32_t)LARGE_FILE;
    uint64_t mode = flags & (O_CREAT | OPEN_TEMPORARY) ? (uint64_t)call->arguments[place + 1] & 07777 : 0;
    if (engine.root && (flags & (O_CREAT | OPEN_TEMPORARY)) && !owners_new_is_plain(mode))
        return false;
    /* A relative path may lie in a read-only view. */
    if (open_changes(flags) && (path == quick->host ? quick->read_only : engine.read_only))
        return false;
    long file = quick_open(quick->dirfd, path, flags, mode);
    *result = file;
    if (engine.root && file == -EACCES)
        return false;
    return file != -ELOOP && file != -EINVAL && file != -ENOSYS && file != -EAGAIN && file != -E2BIG;
}

static bool attempt(const struct quick *quick, const struct asked *asked, const char *path, long *result)
{
    return asked->question->ask ? ask(quick, asked, path, result) : open_file(quick, asked->call, path, result);
}

static bool attempt_host(const struct quick *quick, const void *context, long *result)
{
    return attempt(quick, context, quick->host, result);
}

/* What is asked of a descriptor, by an empty path: fstat(3) is often made so. */
static bool descriptor(int dirfd, const struct asked *asked, long *result)
{
    int flags = asked->question->flags;
    if (dirfd < 0 || flags < 0 || !(asked->call->arguments[flags] & AT_EMPTY_PATH))
        return false;
    *result = asked->question->ask(asked->call, dirfd);
    return *result != -ENOSYS;
}

static const struct question *question_of(const struct trapped *call)
{
    for (size_t i = 0; i < sizeof QUESTIONS / sizeof *QUESTIONS; i++)
        if (QUESTIONS[i].number == call->number) {
            const struct question *found = &QUESTIONS[i];
            return found->flags >= 0 && (call->arguments[found->flags] & ~(long)found->known) ? NULL : found;
        }
    return NULL;
}

static bool follows(const struct call *entry, const struct trapped *call)
{
    if (entry->shape == CALL_OPEN) {
        long flags = call->arguments[entry->path + 1];
        return !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    }
    bool set = entry->flags >= 0 && (call->arguments[entry->flags] & entry->bit);
    return entry->traits & CALL_FOLLOWS ? !set : set;
}

/* Whether a call asks for a change that a read-only view refuses: access(2). */
static bool asks_to_write(const struct call *entry, const struct trapped *call)
{
    return (entry->traits & CALL_ASKS) && engine.read_only && (call->arguments[entry->path + 1] & 2 /* W_OK */);
}

bool quick_call(const struct call *entry, struct trapped *call, long *result)
{
    struct quick quick;
    const struct asked asked = {call, question_of(call)};
    const char *path = (const char *)call->arguments[entry->path];
    if (!asked.question || !engine.openat2 || !path || asks_to_write(entry, call))
        return false;
    quick.dirfd = entry->dirfd < 0 ? AT_FDCWD : (int)call->arguments[entry->dirfd];
    quick.follow = follows(entry, call);
    quick.link = NULL;
    int taken = quick_text(&quick, path);
    if (taken != 0) {
        *result = taken;
        return taken < 0;
    }
    if (quick.length == 0)
        return descriptor(quick.dirfd, &asked, result);
    if (quick.guest[0] == '/')
        return quick_absolute(&quick, attempt_host, &asked, result);
    /* A link's text and a process's maps may tell paths of the host's, if the directory is one of /proc. */
    bool opens = !asked.question->ask;
    if (asked.question->ask == readlink_ask || (opens && maps_is_name(quick.guest, quick.length)))
        return false;
    return path_is_plain(&engine.world, quick.guest) && attempt(&quick, &asked, quick.guest, result);
}
