/* open(2) and its kin: most calls are one openat2 that refuses links, without any look before. */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

#include "trap.h"

enum {
    /* open takes any flag, openat2 those that mean something, and few beside O_PATH. */
    PATH_FLAGS = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    FLAGS = PATH_FLAGS | O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_ASYNC |
            O_DIRECT | O_NOATIME | OPEN_TEMPORARY,
    HOW_SIZE = 4096, /* at most: the kernel takes a page */
    TURNS = 32, /* of a race that others win */
};

struct wish {
    int dirfd;
    char guest[PATH_SIZE];
    struct open_how how;
    bool extended; /* openat2, whose own restrictions are kept */
    bool walked;   /* to its end */
};

/* A structure of later kernels is taken as far as what it has more is zero: openat2(2). */
static int how_read(struct open_how *how, const char *guest, size_t size)
{
    if (size < sizeof *how)
        return -EINVAL;
    if (size > HOW_SIZE)
        return -E2BIG;
    for (size_t at = sizeof *how; at < size; at++) {
        char byte;
        int result = user_read(&byte, guest + at, 1);
        if (result < 0 || byte)
            return result < 0 ? result : -E2BIG;
    }
    return user_read(how, guest, sizeof *how);
}

static int wish_read(const struct call *entry, const struct trapped *call, struct wish *wish)
{
    const long *a = call->arguments;
    wish->dirfd = entry->dirfd < 0 ? AT_FDCWD : (int)a[entry->dirfd];
    wish->extended = call->number == SYS_openat2;
    wish->how = (struct open_how){0};
    if (wish->extended) {
        int result = how_read(&wish->how, (const char *)a[2], (size_t)a[3]);
        if (result < 0)
            return result;
    } else if (call->number == SYS_creat) {
        wish->how.flags = O_CREAT | O_WRONLY | O_TRUNC;
        wish->how.mode = (uint64_t)a[1] & 07777;
    } else {
        wish->how.flags = (uint32_t)a[entry->path + 1] & FLAGS;
        if (wish->how.flags & O_PATH)
            wish->how.flags &= PATH_FLAGS;
        bool makes = wish->how.flags & (O_CREAT | OPEN_TEMPORARY);
        wish->how.mode = makes ? (uint64_t)a[entry->path + 2] & 07777 : 0;
    }
    return user_string(wish->guest, (const char *)a[entry->path]);
}

bool open_changes(uint64_t flags)
{
    return !(flags & O_PATH) && ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC | OPEN_TEMPORARY)));
}

static bool changes(const struct wish *wish)
{
    return open_changes(wish->how.flags);
}

static bool follows(const struct wish *wish)
{
    bool only_new = (wish->how.flags & O_CREAT) && (wish->how.flags & O_EXCL);
    return !(wish->how.flags & O_NOFOLLOW) && !only_new;
}

static long host_open(int dirfd, const char *path, const struct wish *wish, bool no_links)
{
    struct open_how how = wish->how;
    if (no_links)
        how.resolve |= RESOLVE_NO_SYMLINKS;
    if (!no_links && !wish->extended)
        return sys_call4(SYS_openat, dirfd, path, how.flags, how.mode);
    return sys_call4(SYS_openat2, dirfd, path, &how, sizeof how);
}

/* Errors after which the path is walked: a link was met, or openat2 is stricter than open. */
static bool is_inconclusive(long result)
{
    return result == -ELOOP || result == -EINVAL || result == -ENOSYS || result == -EAGAIN || result == -E2BIG;
}

/* Opens what was walked to: no link is in its way any more, unless somebody put one there just now.  -ELOOP then,
 * where the kernel can tell. */
static long place_open(const struct path_place *place, const struct wish *wish)
{
    if (place->file >= 0)
        return host_open((int)place->file, place->host + place->start, wish, engine.openat2);
    return host_open(AT_FDCWD, place->host, wish, engine.openat2 && !place->is_object);
}

/* What a read-only file system says of a file that it has, and of one that it lacks. */
static long read_only_open(const struct path_place *place, struct wish *wish)
{
    uint64_t flags = wish->how.flags;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_TRUNC | OPEN_TEMPORARY));
    long there = sys_call3(SYS_faccessat, AT_FDCWD, place->host, 0);
    if (there < 0)
        return there == -ENOENT && (flags & O_CREAT) ? -EROFS : there;
    if (writes)
        return flags & O_CREAT && flags & O_EXCL ? -EEXIST : -EROFS;
    wish->how.flags &= ~(uint64_t)O_CREAT;
    wish->how.mode = 0;
    return flags & O_EXCL ? -EEXIST : place_open(place, wish);
}

static bool try_fast(struct wish *wish, struct path_place *place, long *result)
{
    if (!engine.openat2 || wish->extended)
        return false;
    if (wish->guest[0] == '/') {
        if (!path_guess(&engine.world, wish->guest, place) || place->is_view)
            return false;
        if (place->read_only && changes(wish))
            return false;
        *result = host_open(AT_FDCWD, place->host, wish, true);
    } else {
        /* Writing is left to the walk, which knows whether the directory lies in a read-only view. */
        if (!path_is_plain(&engine.world, wish->guest) || (changes(wish) && engine.read_only))
            return false;
        *result = host_open(wish->dirfd, wish->guest, wish, true);
    }
    return !is_inconclusive(*result);
}

static long walk_open(struct wish *wish, struct path_place *place)
{
    unsigned flags = PATH_DEEP | (follows(wish) ? PATH_FOLLOW : 0);
    if (wish->how.resolve & RESOLVE_NO_SYMLINKS)
        flags |= PATH_NO_LINKS;
    if (wish->how.resolve & RESOLVE_NO_MAGICLINKS)
        flags |= PATH_NO_MAGIC;
    int result = path_resolve(&engine.world, wish->dirfd, wish->guest, flags, place);
    wish->walked = result == 0;
    if (result < 0)
        return result;
    bool refused = place->read_only && changes(wish);
    long file = refused ? read_only_open(place, wish) : place_open(place, wish);
    path_end(place);
    return file;
}

/* The kernel itself keeps such a path below the directory, which is the container's. */
static long bounded_open(const struct wish *wish)
{
    if (changes(wish) && hold_is_read_only(wish->dirfd))
        return -EROFS;
    return host_open(wish->dirfd, wish->guest, wish, false);
}

static long wish_open(struct wish *wish)
{
    struct path_place place;
    long result;
    if (wish->extended && (wish->how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)))
        return bounded_open(wish);
    if (try_fast(wish, &place, &result))
        return result;
    if (wish->guest[0] == '\0')
        return -ENOENT;
    /* -ELOOP may be the guest's own: a link that it does not want to follow. */
    for (int turn = 0; turn < TURNS; turn++) {
        result = walk_open(wish, &place);
        if (result != -ELOOP || !wish->walked || !follows(wish))
            break;
    }
    return result;
}

/* A file that may be new, of somebody else than root or with permissions that would lock the caller out. */
static long new_open(struct wish *wish)
{
    uint64_t mode = wish->how.mode;
    if (!(wish->how.flags & (O_EXCL | OPEN_TEMPORARY))) {
        struct wish there = *wish;
        there.how.flags &= ~(uint64_t)O_CREAT;
        there.how.mode = 0;
        long file = wish_open(&there);
        if (file != -ENOENT)
            return file;
    }
    wish->how.mode = owners_new_mode(mode);
    long file = wish_open(wish);
    if (file >= 0)
        owners_made(file, mode);
    return file;
}

static long root_open(struct wish *wish)
{
    const struct wish again = *wish;
    bool is_new = (wish->how.flags & (O_CREAT | OPEN_TEMPORARY)) && !owners_new_is_plain(wish->how.mode);
    long file = is_new ? new_open(wish) : wish_open(wish);
    if (file != -EACCES || !owners_unlock(wish->dirfd, wish->guest))
        return file;
    *wish = again;
    return is_new ? new_open(wish) : wish_open(wish);
}

long open_call(const struct call *entry, struct trapped *call)
{
    struct wish wish;
    long length = wish_read(entry, call, &wish);
    if (length < 0)
        return length;
    long file = engine.root ? root_open(&wish) : wish_open(&wish);
    bool is_maps = maps_is_name(wish.guest, (size_t)length) && !(wish.how.flags & O_PATH);
    return is_maps ? maps_translate(file, wish.how.flags & O_CLOEXEC) : file;
}
