/* Paths that are not long, in a few calls of the kernel, and with little memory.
 *
 * openat2(2) with RESOLVE_NO_SYMLINKS tells whether a link was met on the way.  The two usual kinds are followed here:
 * one at the top of the root (/lib), and one at the end of the path (libz.so.1).  ".." is left out of a path whose kernel
 * says that there is no link before it.  Whatever else is met is left to the walk: nothing has happened yet.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

#include "../path/world.h"
#include "quick.h"

enum { HOPS = 8, HINTS = 4, PAGE = 4096, UNDECIDED = 1 };

/* Names at the top of the root that were links the last time, so that they are asked first. */
static HOT uint64_t hints[HINTS];

int quick_text(struct quick *quick, const char *address)
{
    for (size_t done = 0; done < QUICK_SHORT;) {
        int result = user_check(address + done);
        if (result < 0)
            return result;
        size_t end = done + PAGE - (uintptr_t)(address + done) % PAGE;
        for (end = end < QUICK_SHORT ? end : QUICK_SHORT; done < end; done++)
            if (!(quick->guest[done] = address[done])) {
                quick->length = done;
                return 0;
            }
    }
    return QUICK_TOO_LONG;
}

long quick_open(int dirfd, const char *path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {flags, mode, RESOLVE_NO_SYMLINKS};
    return sys_call4(SYS_openat2, dirfd, path, &how, sizeof how);
}

/* The host's path of the first `length` bytes of the guest's; false where it is long or the walk's affair. */
static bool map(struct quick *quick, size_t length, bool slash)
{
    const struct path_view *view = world_view(&engine.world, quick->guest, length);
    size_t below = length - view->guest_length, at = view->host_length + below;
    if (length == 0 || at == 0 || at + 2 > sizeof quick->host) /* "" is the host's "/" */
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
    long file = quick_open(AT_FDCWD, quick->host, O_PATH | O_CLOEXEC | O_DIRECTORY, 0);
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
    if (start + size + rest + 3 > QUICK_SHORT)
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
    char text[QUICK_TEXT];
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
    char text[QUICK_TEXT];
    if (!quick->follow || quick->slash || !map(quick, quick->length, false))
        return false;
    long file = quick_open(AT_FDCWD, quick->host, O_PATH | O_CLOEXEC | O_NOFOLLOW, 0);
    if (file < 0)
        return false;
    long size = sys_call4(SYS_readlinkat, file, "", text, sizeof text);
    sys_call1(SYS_close, file);
    if (size <= 0 || size == QUICK_TEXT)
        return false;
    if (quick->link) {
        quick->link->count++;
        bytes_copy(quick->link->host, quick->host, bytes_length(quick->host) + 1);
        bytes_copy(quick->link->text, text, (size_t)size);
        quick->link->text[size] = '\0';
    }
    size_t start = quick->length;
    while (start > 0 && quick->guest[start - 1] != '/')
        start--;
    return link_put(quick, start - 1, quick->length, text, (size_t)size);
}

bool quick_absolute(struct quick *quick, quick_attempt *attempt, const void *context, long *result)
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
        if (attempt(quick, context, result))
            return true;
        if (*result != -ELOOP || !(top_follow(quick) || last_follow(quick)))
            return false;
    }
    return false;
}
