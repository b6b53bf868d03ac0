/* The place of a path, held by a descriptor while a call is made with it: nobody can put a link in its way between
 * the look and the call.
 *
 * The object itself is held where a link at the end is followed, for it has to be there then; its directory
 * otherwise, and the call is made with the last name alone, at which no link is followed.  Without openat2 the call is
 * made with the path as it was found, and somebody who exchanges directories meanwhile is not noticed.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

#include "../path/proc.h"
#include "trap.h"

enum { TURNS = 32 /* of a race that others win */ };

bool hold_is_proc(const struct path_place *place)
{
    return place->file < 0 && place->length > 6 && bytes_equal(place->host, "/proc/", 6);
}

static long hold_open(int dirfd, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = RESOLVE_NO_SYMLINKS};
    return sys_call4(SYS_openat2, dirfd, path, &how, sizeof how);
}

long hold_read(const char *host)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    static const char proc[] = "/proc/"; /* an object that the kernel follows a link to: path/resolve.c */
    if (engine.openat2 && !bytes_equal(host, proc, sizeof proc - 1))
        return sys_call4(SYS_openat2, AT_FDCWD, host, &how, sizeof how);
    return sys_call4(SYS_openat, AT_FDCWD, host, O_RDONLY | O_CLOEXEC, 0);
}

void hold_end(struct held *held)
{
    if (held->file >= 0)
        sys_call1(SYS_close, held->file);
    held->file = -1;
    path_end(&held->place);
}

/* Where the last name of a path begins, which may end with slashes; 0 where there is no slash before it. */
static size_t last_name(const char *path, size_t length)
{
    while (length > 0 && path[length - 1] == '/')
        length--;
    while (length > 0 && path[length - 1] != '/')
        length--;
    return length;
}

/* The object that `path` leads to, by a name of it that every call takes. */
static int hold_object(struct held *held, int dirfd, const char *path, size_t length, unsigned flags)
{
    bool slash = path[length - 1] == '/';
    uint64_t how = slash || (flags & HOLD_ENTERS) ? O_DIRECTORY : 0;
    held->file = hold_open(dirfd, path, how | (flags & PATH_FOLLOW ? 0 : O_NOFOLLOW));
    if (held->file < 0)
        return (int)held->file;
    size_t at = proc_file(held->text, held->file);
    if (slash) {
        held->text[at++] = '/';
        held->text[at] = '\0';
    }
    held->path = held->text;
    held->dirfd = AT_FDCWD;
    return 0;
}

/* The directory of `path`, and the last name in it. */
static int hold_directory(struct held *held, int dirfd, const char *path, size_t length, unsigned flags)
{
    size_t name = last_name(path, length), at = 0;
    if (name == 0)
        return 0; /* no directory that could be exchanged */
    bytes_copy(held->text, path, name);
    held->text[name] = '\0';
    held->file = hold_open(dirfd, held->text, O_DIRECTORY);
    if (held->file < 0)
        return (int)held->file;
    held->dirfd = (int)held->file;
    if (!(flags & HOLD_DIRECTORY)) {
        at = proc_file(held->text, held->file);
        held->text[at++] = '/';
        held->dirfd = AT_FDCWD;
    }
    bytes_copy(held->text + at, path + name, length - name + 1);
    held->path = held->text;
    return 0;
}

static int hold_path(struct held *held, int dirfd, const char *path, size_t length, unsigned flags)
{
    held->path = path;
    held->dirfd = dirfd;
    if (flags & (PATH_FOLLOW | HOLD_OBJECT))
        return hold_object(held, dirfd, path, length, flags);
    /* The kernel follows a link before a slash, unless the name itself is meant. */
    if (path[length - 1] == '/' && !(flags & PATH_NAME))
        return hold_object(held, dirfd, path, length, PATH_FOLLOW);
    return hold_directory(held, dirfd, path, length, flags);
}

static bool is_named_too_long(int file)
{
    char link[PROC_FILE_SIZE], text[1];
    proc_file(link, file);
    return sys_call4(SYS_readlinkat, AT_FDCWD, link, text, sizeof text) == -ENAMETOOLONG;
}

bool hold_is_read_only(int file)
{
    char guest[PATH_SIZE];
    struct path_place place;
    if (!engine.read_only)
        return false;
    int length = path_above(&engine.world, file, guest);
    /* A file, not a directory, with a name that is too long: where it lies cannot be told. */
    if (length == -ENOTDIR)
        return is_named_too_long(file);
    return length > 0 && path_guess(&engine.world, guest, &place) && place.read_only;
}

/* Whether the last name is "." or "..", which the kernel is to refuse if it is to be made or removed. */
static bool ends_with_dots(const char *path)
{
    size_t end = bytes_length(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t size = end - last_name(path, end);
    return size > 0 && size < 3 && path[end - 1] == '.' && path[end - size] == '.';
}

/* Without a walk; -ELOOP where it needs one. */
static int hold_fast(struct held *held, int dirfd, const char *guest, unsigned flags)
{
    struct path_place *place = &held->place;
    if ((flags & PATH_NAME) && ends_with_dots(guest))
        return -ELOOP;
    if (guest[0] == '/') {
        if (!path_guess(&engine.world, guest, place) || place->is_view || hold_is_proc(place))
            return -ELOOP;
        held->read_only = place->read_only;
        return hold_path(held, AT_FDCWD, place->host, place->length, flags);
    }
    if (!path_is_plain(&engine.world, guest))
        return -ELOOP;
    size_t length = bytes_length(guest);
    bytes_copy(place->host, guest, length + 1); /* the guest's threads may change theirs meanwhile */
    place->length = 0;
    place->read_only = place->is_view = place->is_exe = place->is_object = false;
    place->file = -1;
    /* A relative path lies in the view that its directory lies in. */
    held->read_only = (flags & HOLD_CHANGES) && hold_is_read_only(dirfd);
    return hold_path(held, dirfd, place->host, length, flags);
}

/* What is not there is not there by any way. */
static bool is_final(int result)
{
    return result == 0 || result == -ENOENT || result == -ENOTDIR || result == -EBADF;
}

/* The directory is held already. */
static int hold_deep(struct held *held, unsigned flags)
{
    struct path_place *place = &held->place;
    const char *name = place->host + place->start;
    size_t length = place->length - place->start;
    bool slash = name[length - 1] == '/' && !(flags & PATH_NAME);
    if (slash || (flags & (PATH_FOLLOW | HOLD_OBJECT)))
        return hold_object(held, (int)place->file, name, length, slash ? flags | PATH_FOLLOW : flags);
    return 0;
}

static int hold_walked(struct held *held, int dirfd, const char *guest, unsigned flags)
{
    struct path_place *place = &held->place;
    int result = path_resolve(&engine.world, dirfd, guest, (flags & (PATH_FOLLOW | PATH_NAME)) | PATH_DEEP, place);
    if (result < 0)
        return result;
    held->read_only = place->read_only;
    held->path = place->host;
    held->dirfd = AT_FDCWD;
    if (!engine.openat2 || place->is_object)
        return 0;
    if (place->file < 0)
        result = hold_path(held, AT_FDCWD, place->host, place->length, flags);
    else
        result = hold_deep(held, flags);
    if (result != -EMFILE && result != -ENFILE) {
        if (result < 0)
            path_end(place);
        return result;
    }
    /* The call itself needs no descriptor, and must not fail for the want of one. */
    held->path = place->host;
    held->dirfd = AT_FDCWD;
    return 0;
}

int hold(int dirfd, const char *guest, unsigned flags, struct held *held)
{
    held->file = held->place.file = -1;
    int result = engine.openat2 ? hold_fast(held, dirfd, guest, flags) : -ELOOP;
    if (is_final(result))
        return result;
    for (int turn = 0; turn < TURNS; turn++) {
        held->file = -1;
        result = hold_walked(held, dirfd, guest, flags);
        if (result != -ELOOP || held->file != -ELOOP)
            return result;
    }
    return -ELOOP;
}
