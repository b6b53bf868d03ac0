/* What is done with a trapped call.
 *
 * The path is copied from the guest, translated, and the call made again with the host's path.  Most paths
 * hold no link and no "..": those are tried as they are, and the kernel is asked to refuse links on its way
 * (openat2(2), RESOLVE_NO_SYMLINKS); only where it met one is the path walked (path/resolve.c).
 */

#include "trap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

struct engine engine;

int engine_add_view(const char *guest, const char *host, bool read_only)
{
    const char *texts[2] = {guest, host};
    for (int i = 0; i < 2; i++) {
        size_t size = bytes_length(texts[i]) + 1;
        if (engine.text_used + size > sizeof engine.text)
            return -ENOSPC;
        char *copy = engine.text + engine.text_used;
        bytes_copy(copy, texts[i], size);
        engine.text_used += size;
        texts[i] = copy;
    }
    engine.read_only = engine.read_only || read_only;
    return path_world_add(&engine.world, texts[0], texts[1], read_only);
}

/* Whether a path is the host's as it stands: the kernel finds no link in it.  Otherwise it must be walked. */
static bool has_no_link(int dirfd, const char *path, unsigned flags)
{
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC | (flags & PATH_FOLLOW ? 0 : O_NOFOLLOW),
        .resolve = RESOLVE_NO_SYMLINKS,
    };
    long file = sys_call4(SYS_openat2, dirfd, path, &how, sizeof how);
    if (file >= 0) {
        sys_call1(SYS_close, file);
        return true;
    }
    /* What is not there is not there by either path. */
    return file == -ENOENT || file == -ENOTDIR;
}

/* Where names mean more than they say: path/proc.h. */
static bool is_proc(const struct path_place *place)
{
    return place->length > 6 && bytes_equal(place->host, "/proc/", 6);
}

/* The host's path of a guest's, or the same path where `place->length` is 0: then dirfd stays in force. */
int engine_settle(int dirfd, const char *guest, unsigned flags, struct path_place *place)
{
    if (engine.openat2 && guest[0] == '/') {
        if (path_guess(&engine.world, guest, place) && !place->is_view && !is_proc(place) &&
            has_no_link(AT_FDCWD, place->host, flags))
            return 0;
    } else if (engine.openat2 && path_is_plain(&engine.world, guest) && has_no_link(dirfd, guest, flags)) {
        place->length = 0;
        place->read_only = place->is_view = place->is_exe = false;
        return 0;
    }
    return path_resolve(&engine.world, dirfd, guest, flags, place);
}

static long reissue(const struct trapped *call)
{
    const long *a = call->arguments;
    return sys_call6(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int directory_of(const struct call *entry, const struct trapped *call, int offset)
{
    return entry->dirfd < 0 ? AT_FDCWD : (int)call->arguments[entry->dirfd + offset];
}

static unsigned follow_of(const struct call *entry, const struct trapped *call)
{
    bool set = entry->flags >= 0 && (call->arguments[entry->flags] & entry->bit);
    return (entry->traits & CALL_FOLLOWS ? !set : set) ? PATH_FOLLOW : 0;
}

/* A relative path may lie in a read-only view: the directory tells. */
static bool is_read_only(int dirfd, const struct path_place *place)
{
    char guest[PATH_SIZE];
    struct path_place directory;
    if (place->length > 0)
        return place->read_only;
    if (!engine.read_only || path_of_directory(&engine.world, dirfd, guest) < 0)
        return false;
    return path_guess(&engine.world, guest, &directory) && directory.read_only;
}

/* Puts the host's path in place of the guest's; 1 where the call is to be made as it is. */
static int replace(const struct call *entry, struct trapped *call, int offset, unsigned flags,
                   struct path_place *place)
{
    char guest[PATH_SIZE];
    long *path = &call->arguments[entry->path + offset];
    if (*path == 0 && (entry->traits & (CALL_NULLS | CALL_EMPTY)))
        return 1;
    int dirfd = directory_of(entry, call, offset);
    int length = user_string(guest, (const char *)*path);
    if (length <= 0)
        return length < 0 ? length : 1;
    int result = engine_settle(dirfd, guest, flags, place);
    if (result < 0)
        return result;
    if ((entry->traits & CALL_REMOVES) && place->is_view)
        return -EBUSY;
    if ((entry->traits & CALL_CHANGES) && is_read_only(dirfd, place))
        return -EROFS;
    if (place->length > 0) {
        *path = (long)place->host;
        if (entry->dirfd >= 0)
            call->arguments[entry->dirfd + offset] = AT_FDCWD;
    } else {
        /* Our own copy: the guest's threads may change theirs meanwhile. */
        bytes_copy(place->host, guest, (size_t)length + 1);
        *path = (long)place->host;
    }
    return 0;
}

static long one_call(const struct call *entry, struct trapped *call)
{
    struct path_place place;
    int result = replace(entry, call, 0, follow_of(entry, call), &place);
    if (result < 0)
        return result;
    if (result == 0 && (entry->traits & CALL_ASKS) && (call->arguments[entry->path + 1] & 2 /* W_OK */) &&
        is_read_only(directory_of(entry, call, 0), &place)) {
        call->arguments[entry->path + 1] &= ~2l;
        long asked = reissue(call);
        return asked == 0 ? -EROFS : asked;
    }
    return reissue(call);
}

/* The second path is two arguments after the first where each has a directory, else one. */
static long two_call(const struct call *entry, struct trapped *call)
{
    struct path_place first, second;
    struct call other = *entry;
    other.flags = -1;
    other.traits = (uint8_t)((entry->traits & ~CALL_FOLLOWS) | CALL_KEEPS);
    int result = replace(entry, call, 0, follow_of(entry, call), &first);
    if (result >= 0)
        result = replace(&other, call, entry->dirfd < 0 ? 1 : 2, 0, &second);
    return result < 0 ? result : reissue(call);
}

static long text_return(void *buffer, size_t room, const char *text, size_t length)
{
    length = length < room ? length : room;
    int result = user_write(buffer, text, length);
    return result < 0 ? result : (long)length;
}

static long readlink_call(const struct call *entry, struct trapped *call)
{
    struct path_place place;
    char text[PATH_SIZE], guest[PATH_SIZE];
    void *buffer = (void *)call->arguments[entry->path + 1];
    long room = (int)call->arguments[entry->path + 2];
    if (room <= 0)
        return -EINVAL;
    int result = replace(entry, call, 0, 0, &place);
    if (result != 0)
        return result < 0 ? result : reissue(call);
    if (place.length > 0 && place.is_exe)
        return text_return(buffer, (size_t)room, engine.exe_guest, bytes_length(engine.exe_guest));
    if (!is_proc(&place))
        return reissue(call);
    long length = sys_call4(SYS_readlinkat, AT_FDCWD, place.host, text, sizeof text - 1);
    if (length < 0)
        return length;
    text[length] = '\0';
    /* What the container does not see keeps the host's name: an inherited file, a pipe. */
    if (text[0] == '/' && path_to_guest(&engine.world, text, guest) > 0)
        return text_return(buffer, (size_t)room, guest, bytes_length(guest));
    return text_return(buffer, (size_t)room, text, (size_t)length);
}

static long getcwd_call(const struct trapped *call)
{
    char guest[PATH_SIZE];
    int length = path_of_directory(&engine.world, AT_FDCWD, guest);
    if (length < 0)
        return length;
    if ((size_t)length + 1 > (size_t)call->arguments[1])
        return -ERANGE;
    int result = user_write((void *)call->arguments[0], guest, (size_t)length + 1);
    return result < 0 ? result : length + 1;
}

long engine_call(struct trapped *call)
{
    size_t place = (size_t)call->number < sizeof engine.calls ? engine.calls[call->number] : 0;
    if (place == 0)
        return reissue(call); /* trapped for another reason: a filter of the guest's own */
    const struct call *entry = &call_table[place - 1];
    long result;
    if (quick_call(entry, call, &result))
        return result;
    switch ((enum call_shape)entry->shape) {
    case CALL_ONE:
    case CALL_SECOND:
        return one_call(entry, call);
    case CALL_TWO:
        return two_call(entry, call);
    case CALL_OPEN:
        return open_call(entry, call);
    case CALL_READLINK:
        return readlink_call(entry, call);
    case CALL_GETCWD:
        return getcwd_call(call);
    case CALL_EXEC:
        return exec_call(entry, call);
    case CALL_SOCKET:
        return socket_call(entry, call);
    case CALL_MESSAGE:
        return message_call(call);
    case CALL_REFUSE:
        return -EPERM;
    }
    return -ENOSYS;
}
