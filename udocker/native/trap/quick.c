/* The calls that programs make most, with paths that are not long: a few calls of the kernel, and little memory.
 *
 * A file is opened by openat2(2) with RESOLVE_NO_SYMLINKS, and then asked by its descriptor what the guest asks,
 * so that no path is looked up twice.  Where a link was met, the two usual kinds are followed here: one at the
 * top of the root (/lib), and one at the end of the path (libz.so.1).  ".." is left out of a path whose kernel says
 * that there is no link before it.  Whatever else is met is left to the walk: nothing has happened yet.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

#include "trap.h"
#include "../path/numbers.h"
#include "../path/world.h"

enum { SHORT = 512, TEXT = 128, HOPS = 8, HINTS = 4, PAGE = 4096, TOO_LONG = 1, UNDECIDED = 1 };
enum { LARGE_FILE = 0100000 /* O_LARGEFILE, which means nothing here */ };

struct quick {
    struct trapped *call;
    int dirfd;
    bool follow;
    bool slash; /* the path ends with one */
    bool read_only;
    size_t length;
    char guest[SHORT]; /* absolute: without ".", ".." and needless slashes */
    char host[2 * SHORT];
};

/* Names at the top of the root that were links the last time, so that they are asked first. */
static HOT uint64_t hints[HINTS];

static int text_take(struct quick *quick, const char *address)
{
    for (size_t done = 0; done < SHORT;) {
        int result = user_check(address + done);
        if (result < 0)
            return result;
        size_t end = done + PAGE - (uintptr_t)(address + done) % PAGE;
        for (end = end < SHORT ? end : SHORT; done < end; done++)
            if (!(quick->guest[done] = address[done])) {
                quick->length = done;
                return 0;
            }
    }
    return TOO_LONG;
}

static long host_open(int dirfd, const char *path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {flags, mode, RESOLVE_NO_SYMLINKS};
    return sys_call4(SYS_openat2, dirfd, path, &how, sizeof how);
}

/* The host's path of the first `length` bytes of the guest's; false where it is long or the walk's affair. */
static bool map(struct quick *quick, size_t length, bool slash)
{
    const struct path_view *view = world_view(&engine.world, quick->guest, length);
    size_t below = length - view->guest_length, at = view->host_length + below;
    if (below == 0 || at + 2 > sizeof quick->host)
        return false;
    bytes_copy(quick->host, view->host, view->host_length);
    bytes_copy(quick->host + view->host_length, quick->guest + view->guest_length, below);
    if (slash)
        quick->host[at++] = '/';
    quick->host[at] = '\0';
    quick->read_only = view->read_only;
    return !bytes_equal(quick->host, "/proc/", 6);
}

/* Whether the path so far is a directory without links before it: 0, or what the guest is told, or UNDECIDED. */
static long directory_check(struct quick *quick, size_t length)
{
    char next = quick->guest[length];
    quick->guest[length] = '\0';
    bool mapped = map(quick, length, false);
    quick->guest[length] = next;
    if (!mapped)
        return UNDECIDED;
    long file = host_open(AT_FDCWD, quick->host, O_PATH | O_CLOEXEC | O_DIRECTORY, 0);
    if (file < 0)
        return file == -ENOENT || file == -ENOTDIR || file == -EACCES ? file : UNDECIDED;
    sys_call1(SYS_close, file);
    return 0;
}

/* Leaves out what an absolute path can do without. */
static long clean(struct quick *quick)
{
    char *guest = quick->guest;
    size_t from = 0, at = 0, checked = 0;
    quick->slash = false;
    while (from < quick->length) {
        while (guest[from] == '/')
            from++;
        size_t name = from;
        while (from < quick->length && guest[from] != '/')
            from++;
        size_t size = from - name;
        bool dot = size == 1 && guest[name] == '.';
        quick->slash = size == 0 || dot || guest[from] == '/';
        if (size == 0 || dot)
            continue;
        if (size == 2 && guest[name] == '.' && guest[name + 1] == '.') {
            long result = at > checked ? directory_check(quick, at) : 0;
            if (result != 0)
                return result;
            while (at > 0 && guest[--at] != '/')
                ;
            checked = at;
            continue;
        }
        guest[at++] = '/';
        bytes_copy(guest + at, guest + name, size);
        at += size;
    }
    guest[at] = '\0';
    quick->length = at;
    return 0;
}

/* Puts a link's text in place of the guest path's bytes from `start` to `end`. */
static bool link_put(struct quick *quick, size_t start, size_t end, const char *text, size_t size)
{
    size_t rest = quick->length - end;
    start = text[0] == '/' ? 0 : start;
    if (start + size + rest + 3 > SHORT)
        return false;
    bytes_move(quick->guest + start + 1 + size, quick->guest + end, rest);
    quick->guest[start] = '/';
    bytes_copy(quick->guest + start + 1, text, size);
    quick->length = start + 1 + size + rest;
    if (quick->slash)
        quick->guest[quick->length++] = '/';
    quick->guest[quick->length] = '\0';
    return true;
}

static size_t first_name(const struct quick *quick)
{
    size_t end = 1;
    while (end < quick->length && quick->guest[end] != '/')
        end++;
    return end;
}

static uint64_t *hint_of(const struct quick *quick, size_t end)
{
    uint64_t name = 0;
    if (end - 1 > sizeof name)
        return NULL;
    bytes_copy((char *)&name, quick->guest + 1, end - 1);
    for (int i = 0; i < HINTS; i++)
        if (hints[i] == name)
            return &hints[i];
    return NULL;
}

static void hint_add(const struct quick *quick, size_t end)
{
    uint64_t name = 0;
    if (end - 1 > sizeof name)
        return;
    bytes_copy((char *)&name, quick->guest + 1, end - 1);
    for (int i = 0; i < HINTS; i++)
        if (hints[i] == 0) {
            hints[i] = name;
            return;
        }
}

/* Follows a link at the top of the root, if there is one on the way. */
static bool top_follow(struct quick *quick)
{
    char text[TEXT];
    size_t end = first_name(quick);
    if (end == quick->length && !quick->follow && !quick->slash)
        return false;
    if (world_view(&engine.world, quick->guest, end) != &engine.world.views[0] || !map(quick, end, false))
        return false;
    long size = sys_call4(SYS_readlinkat, AT_FDCWD, quick->host, text, sizeof text);
    uint64_t *hint = hint_of(quick, end);
    if (size <= 0 || size == sizeof text) {
        if (hint)
            *hint = 0;
        return false;
    }
    if (!hint)
        hint_add(quick, end);
    return link_put(quick, 0, end, text, (size_t)size);
}

/* The same for a link at the end. */
static bool last_follow(struct quick *quick)
{
    char text[TEXT];
    if (!quick->follow || quick->slash || !map(quick, quick->length, false))
        return false;
    long file = host_open(AT_FDCWD, quick->host, O_PATH | O_CLOEXEC | O_NOFOLLOW, 0);
    if (file < 0)
        return false;
    long size = sys_call4(SYS_readlinkat, file, "", text, sizeof text);
    sys_call1(SYS_close, file);
    size_t start = quick->length;
    while (start > 0 && quick->guest[start - 1] != '/')
        start--;
    return size > 0 && size < TEXT && link_put(quick, start - 1, quick->length, text, (size_t)size);
}

/* ---- what is asked of the file ---- */

static long stat_ask(const struct quick *quick, long file)
{
    const long *a = quick->call->arguments;
    long buffer = a[quick->call->number == SYS_newfstatat ? 2 : 1];
    return engine.root ? owners_stat(file, (void *)buffer) : sys_call2(SYS_fstat, file, buffer);
}

static long statx_ask(const struct quick *quick, long file)
{
    const long *a = quick->call->arguments;
    long flags = (a[2] & ~AT_SYMLINK_NOFOLLOW) | AT_EMPTY_PATH;
    if (engine.root)
        return owners_statx(file, flags, a[3], (void *)a[4]);
    return sys_call5(SYS_statx, file, "", flags, a[3], a[4]);
}

static long access_ask(const struct quick *quick, long file)
{
    const long *a = quick->call->arguments;
    long mode = a[quick->call->number == SYS_access ? 1 : 2];
    long flags = quick->call->number == SYS_faccessat2 ? a[3] & AT_EACCESS : 0;
    long result = sys_call4(SYS_faccessat2, file, "", mode, flags | AT_EMPTY_PATH);
    return engine.root && result == 0 ? owners_access(file, mode, flags) : result;
}

static long readlink_ask(const struct quick *quick, long file)
{
    const long *a = quick->call->arguments;
    size_t place = quick->call->number == SYS_readlink ? 1 : 2;
    long size = sys_call4(SYS_readlinkat, file, "", a[place], a[place + 1]);
    return size == -ENOENT ? -EINVAL : size; /* what a descriptor of no link is called */
}

static const struct question {
    short number;
    long (*ask)(const struct quick *quick, long file); /* NULL for open, which asks nothing more */
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
    {SYS_statx, statx_ask, 2, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE},
};

static bool is_decided(long result)
{
    return result >= 0 || result == -ENOENT || result == -ENOTDIR || result == -EACCES;
}

static bool ask(const struct quick *quick, const struct question *question, const char *path, long *result)
{
    uint64_t flags = O_PATH | O_CLOEXEC | (quick->follow ? 0 : O_NOFOLLOW);
    long file = host_open(quick->dirfd, path, flags, 0);
    *result = file;
    if (file < 0)
        return is_decided(file);
    *result = question->ask(quick, file);
    sys_call1(SYS_close, file);
    return *result != -ENOSYS;
}

static bool open_file(const struct quick *quick, const char *path, long *result)
{
    size_t place = quick->call->number == SYS_open ? 1 : 2;
    uint64_t flags = (uint32_t)quick->call->arguments[place] & ~(uint32_t)LARGE_FILE;
    uint64_t mode = flags & (O_CREAT | OPEN_TEMPORARY) ? (uint64_t)quick->call->arguments[place + 1] & 07777 : 0;
    if (engine.root && (flags & (O_CREAT | OPEN_TEMPORARY)) && !owners_new_is_plain(mode))
        return false;
    /* A relative path may lie in a read-only view. */
    if (open_changes(flags) && (path == quick->host ? quick->read_only : engine.read_only))
        return false;
    long file = host_open(quick->dirfd, path, flags, mode);
    *result = file;
    if (engine.root && file == -EACCES)
        return false;
    return file != -ELOOP && file != -EINVAL && file != -ENOSYS && file != -EAGAIN && file != -E2BIG;
}

static bool attempt(const struct quick *quick, const struct question *question, const char *path, long *result)
{
    return question->ask ? ask(quick, question, path, result) : open_file(quick, path, result);
}

/* An absolute path, over the links that it meets. */
static bool absolute(struct quick *quick, const struct question *question, long *result)
{
    quick->dirfd = AT_FDCWD;
    for (int hop = 0; hop < HOPS; hop++) {
        *result = clean(quick);
        if (*result != 0)
            return *result < 0;
        size_t end = first_name(quick);
        if (quick->length == 0)
            return false;
        if (hint_of(quick, end) && top_follow(quick))
            continue;
        if (!map(quick, quick->length, quick->slash))
            return false;
        if (attempt(quick, question, quick->host, result))
            return true;
        if (*result != -ELOOP || !(top_follow(quick) || last_follow(quick)))
            return false;
    }
    return false;
}

/* What is asked of a descriptor, by an empty path: fstat(3) is often made so. */
static bool descriptor(const struct quick *quick, const struct question *question, long *result)
{
    if (quick->dirfd < 0 || question->flags < 0 || !(quick->call->arguments[question->flags] & AT_EMPTY_PATH))
        return false;
    *result = question->ask(quick, quick->dirfd);
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
    const struct question *question = question_of(call);
    const char *path = (const char *)call->arguments[entry->path];
    if (!question || !engine.openat2 || !path || asks_to_write(entry, call))
        return false;
    quick.call = call;
    quick.dirfd = entry->dirfd < 0 ? AT_FDCWD : (int)call->arguments[entry->dirfd];
    quick.follow = follows(entry, call);
    int taken = text_take(&quick, path);
    if (taken != 0) {
        *result = taken;
        return taken < 0;
    }
    if (quick.length == 0)
        return descriptor(&quick, question, result);
    if (quick.guest[0] == '/')
        return absolute(&quick, question, result);
    /* A link's text and a process's maps may tell paths of the host's, if the directory is one of /proc. */
    if (question->ask == readlink_ask || (!question->ask && maps_is_name(quick.guest, quick.length)))
        return false;
    return path_is_plain(&engine.world, quick.guest) && attempt(&quick, question, quick.guest, result);
}

/* Opens a file that is to be read, and tells its path on the host; -ELOOP where that is the walk's affair. */
long quick_open(const char *guest, long flags, struct path_place *place)
{
    struct trapped call = {SYS_open, {0, flags}, NULL};
    struct quick quick;
    long result;
    quick.length = bytes_length(guest);
    if (!engine.openat2 || guest[0] != '/' || quick.length >= SHORT)
        return -ELOOP;
    quick.call = &call;
    quick.follow = true;
    bytes_copy(quick.guest, guest, quick.length + 1);
    if (!absolute(&quick, question_of(&call), &result))
        return -ELOOP;
    if (result < 0)
        return result;
    place->length = bytes_length(quick.host);
    bytes_copy(place->host, quick.host, place->length + 1);
    place->file = -1;
    return result;
}
