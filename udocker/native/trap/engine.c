/* What is done with a trapped call.
 *
 * The path is copied from the guest, translated, and the call made again with the host's path.  Most paths
 * hold no link and no "..": those are tried as they are, and the kernel is asked to refuse links on its way
 * (openat2(2), RESOLVE_NO_SYMLINKS); only where it met one is the path walked (path/resolve.c).  What was found
 * is held by a descriptor during the call (hold.c).
 */

#include "trap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "begin.h"

struct engine engine __attribute__((section(".bss.engine"), aligned(ENGINE_PAGE)));

HOT uint8_t engine_debugged;

const char *engine_keep(const char *text)
{
    size_t size = bytes_length(text) + 1;
    if (size > ENGINE_TEXT - engine.text_used)
        return NULL;
    engine.text_used += size;
    char *copy = engine.text + ENGINE_TEXT - engine.text_used;
    bytes_copy(copy, text, size);
    return copy;
}

int engine_put_view(const char *guest, const char *host, bool read_only)
{
    guest = engine_keep(guest);
    host = engine_keep(host);
    if (!guest || !host)
        return -ENOSPC;
    engine.read_only = engine.read_only || read_only;
    return path_world_add(&engine.world, guest, host, read_only);
}

/* ---- an engine that was started in a container: its views are of what it sees there ---- */

void engine_nest(void)
{
    engine.nested = engine.world.count > 0;
    engine.loader.guest = NULL;
    engine.outer = engine.world;
    engine.root = false; /* what is asked of the new one counts */
    engine.world = (struct path_world){.exe_host = engine.exe_host, .exe_guest = engine.exe_guest};
    for (size_t i = 0; i < PATH_VIEWS; i++)
        engine.unlisted[i] = false; /* views have other places now */
}

int engine_outer_path(const char *text, struct path_place *place)
{
    if (engine.nested)
        return path_resolve(&engine.outer, AT_FDCWD, text, PATH_FOLLOW, place);
    place->length = bytes_length(text);
    if (place->length >= sizeof place->host)
        return -ENAMETOOLONG;
    bytes_copy(place->host, text, place->length + 1);
    return 0;
}

/* What is bound below the place in the outer world is bound below `guest` in ours. */
static int views_below(const char *guest, const char *place, bool read_only)
{
    char inner[PATH_SIZE];
    size_t prefix = bytes_length(place), start = bytes_length(guest);
    int result = 0;
    prefix = prefix == 1 ? 0 : prefix; /* "/" */
    for (size_t i = 1; result == 0 && i < engine.outer.count; i++) {
        const struct path_view *view = &engine.outer.views[i];
        if (view->guest_length <= prefix || view->guest[prefix] != '/' || !bytes_equal(view->guest, place, prefix))
            continue;
        if (start + view->guest_length - prefix >= sizeof inner)
            return -ENAMETOOLONG;
        bytes_copy(inner, guest, start);
        bytes_copy(inner + start, view->guest + prefix, view->guest_length - prefix + 1);
        result = engine_put_view(inner, view->host, read_only || view->read_only);
    }
    return result;
}

int engine_add_view(const char *guest, const char *host, bool read_only)
{
    char outer[PATH_SIZE];
    struct path_place place;
    if (!engine.nested || path_to_guest(&engine.outer, *host ? host : "/", outer) < 0)
        return engine_put_view(guest, host, read_only);
    if (path_guess(&engine.outer, outer, &place))
        read_only = read_only || place.read_only;
    int result = engine_put_view(guest, host, read_only);
    return result < 0 ? result : views_below(guest, outer, read_only);
}

static int directory_of(const struct call *entry, const struct trapped *call, int offset)
{
    return entry->dirfd < 0 ? AT_FDCWD : (int)call->arguments[entry->dirfd + offset];
}

bool engine_follows(const struct call *entry, const struct trapped *call)
{
    bool set = entry->flags >= 0 && (call->arguments[entry->flags] & entry->bit);
    return entry->traits & CALL_FOLLOWS ? !set : set;
}

static unsigned follow_of(const struct call *entry, const struct trapped *call)
{
    return engine_follows(entry, call) ? PATH_FOLLOW : 0;
}

static unsigned hold_of(const struct call *entry)
{
    return (entry->traits & CALL_NAMES ? PATH_NAME : 0) |
           (entry->traits & (CALL_CHANGES | CALL_ASKS) ? HOLD_CHANGES : 0) | (entry->dirfd >= 0 ? HOLD_DIRECTORY : 0);
}

/* unlink(2) takes no directory, busy or not. */
static bool is_unlink(const struct trapped *call)
{
    return call->number == SYS_unlink || (call->number == SYS_unlinkat && !(call->arguments[2] & AT_REMOVEDIR));
}

int engine_replace(const struct call *entry, struct trapped *call, int offset, unsigned flags, struct held *held)
{
    char guest[PATH_SIZE];
    long *path = &call->arguments[entry->path + offset];
    int dirfd = directory_of(entry, call, offset), length = 0;
    held->file = held->place.file = -1;
    if (*path != 0 || !(entry->traits & (CALL_NULLS | CALL_EMPTY)))
        length = user_string(guest, (const char *)*path);
    if (length < 0)
        return length;
    if (length == 0) {
        bool by_file = (entry->traits & (CALL_NULLS | CALL_EMPTY)) && (entry->traits & CALL_CHANGES);
        return by_file && hold_is_read_only(dirfd) ? -EROFS : 1;
    }
    int result = hold(dirfd, guest, flags | hold_of(entry), held);
    if (result == 0 && (entry->traits & CALL_REMOVES) && held->place.is_view)
        result = is_unlink(call) && is_directory(held->place.host) ? -EISDIR : -EBUSY;
    if (result == 0 && (entry->traits & CALL_CHANGES) && held->read_only)
        result = -EROFS;
    if (result < 0) {
        hold_end(held);
        return result;
    }
    *path = (long)held->path;
    if (entry->dirfd >= 0)
        call->arguments[entry->dirfd + offset] = held->dirfd;
    return 0;
}

/* Asking for more than a read-only view allows. */
static long ask(const struct call *entry, struct trapped *call)
{
    long *mode = &call->arguments[entry->path + 1];
    bool wants = *mode & 2 /* W_OK */;
    *mode &= ~2l;
    long asked = reissue(call);
    return asked == 0 && wants ? -EROFS : asked;
}

static long one_call(const struct call *entry, struct trapped *call)
{
    struct held held;
    int result = engine_replace(entry, call, 0, follow_of(entry, call), &held);
    if (result < 0)
        return result;
    bool asks = result == 0 && (entry->traits & CALL_ASKS);
    long done = asks && held.read_only ? ask(entry, call) : reissue(call);
    if (asks && engine.root && done == 0)
        done = owners_held_access(&held, entry, call);
    hold_end(&held);
    return done;
}

/* What can be asked of a descriptor is: stat(2) and its kin, chdir(2). */
static long held_call(const struct call *entry, struct trapped *call)
{
    static const char none[] = "";
    struct held held;
    long *a = call->arguments;
    unsigned flags = HOLD_OBJECT | (call->number == SYS_chdir ? HOLD_ENTERS : 0);
    int result = engine_replace(entry, call, 0, follow_of(entry, call) | flags, &held);
    if (result < 0)
        return result;
    long done;
    if (result == 1 || held.file < 0)
        done = reissue(call);
    else if (call->number == SYS_chdir)
        done = sys_call1(SYS_fchdir, held.file);
    else if (call->number == SYS_statx)
        done = sys_call5(SYS_statx, held.file, none, a[2] | AT_EMPTY_PATH, a[3], a[4]);
    else
        done = sys_call4(SYS_newfstatat, held.file, none, a[entry->path + 1],
                         AT_EMPTY_PATH | (entry->flags < 0 ? 0 : a[entry->flags]));
    hold_end(&held);
    return done;
}

static bool is_held(long number)
{
    return number == SYS_newfstatat || number == SYS_stat || number == SYS_lstat || number == SYS_statx ||
           number == SYS_chdir;
}

/* The second path is two arguments after the first where each has a directory, else one. */
static long two_call(const struct call *entry, struct trapped *call)
{
    struct held first, second;
    struct call one = *entry, other = *entry;
    other.flags = -1;
    /* A new link is a name, what it leads to is not. */
    if (!(entry->traits & CALL_REMOVES))
        one.traits &= (uint8_t)~CALL_NAMES;
    other.traits = (uint8_t)((entry->traits & ~CALL_FOLLOWS) | CALL_KEEPS);
    long result = engine_replace(&one, call, 0, follow_of(entry, call), &first);
    if (result < 0)
        return result;
    result = engine_replace(&other, call, entry->dirfd < 0 ? 1 : 2, 0, &second);
    if (result >= 0) {
        result = reissue(call);
        hold_end(&second);
    }
    hold_end(&first);
    return result;
}

static long text_return(void *buffer, size_t room, const char *text, size_t length)
{
    length = length < room ? length : room;
    int result = user_write(buffer, text, length);
    return result < 0 ? result : (long)length;
}

/* Whether a link is one of /proc: then its text is a path of the host. */
static bool is_proc_link(int dirfd, const struct held *held)
{
    char guest[PATH_SIZE];
    struct path_place place;
    if (held->place.length > 0)
        return hold_is_proc(&held->place);
    return path_of_directory(&engine.world, dirfd, guest) > 0 && path_guess(&engine.world, guest, &place) &&
           hold_is_proc(&place);
}

static long readlink_call(const struct call *entry, struct trapped *call)
{
    struct held held;
    char text[PATH_SIZE], guest[PATH_SIZE];
    void *buffer = (void *)call->arguments[entry->path + 1];
    long room = (int)call->arguments[entry->path + 2];
    int dirfd = directory_of(entry, call, 0);
    if (room <= 0)
        return -EINVAL;
    int result = engine_replace(entry, call, 0, 0, &held);
    if (result != 0)
        return result < 0 ? result : reissue(call);
    if (held.place.is_exe) {
        hold_end(&held);
        if (engine.exe_guest[0] != '/')
            return -ENAMETOOLONG; /* it lies too deep to have a name: exec.c */
        return text_return(buffer, (size_t)room, engine.exe_guest, bytes_length(engine.exe_guest));
    }
    long length = sys_call4(SYS_readlinkat, held.dirfd, held.path, text, sizeof text - 1);
    hold_end(&held);
    if (length < 0)
        return length;
    text[length] = '\0';
    /* What the container does not see keeps the host's name: an inherited file, a pipe. */
    if (text[0] == '/' && is_proc_link(dirfd, &held) && path_to_guest(&engine.world, text, guest) > 0)
        return text_return(buffer, (size_t)room, guest, bytes_length(guest));
    if (hold_is_proc(&held.place) && maps_program(AT_FDCWD, held.place.host, text, guest) > 0)
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

/* Of a directory that is there somebody without privileges is told that he may not: chroot(2). */
static long root_call(const struct call *entry, struct trapped *call)
{
    struct held held;
    struct stat info;
    char guest[PATH_SIZE];
    const char *path = (const char *)call->arguments[entry->path];
    int result = engine_replace(entry, call, 0, PATH_FOLLOW | HOLD_ENTERS, &held);
    if (result != 0)
        return result < 0 ? result : -ENOENT;
    long done = sys_call4(SYS_newfstatat, held.dirfd, held.path, &info, 0);
    if (done == 0 && !S_ISDIR(info.st_mode))
        done = -ENOTDIR;
    if (done == 0)
        done = sys_call3(SYS_faccessat, held.dirfd, held.path, 1 /* X_OK */);
    hold_end(&held);
    if (done < 0 || !engine.root)
        return done < 0 ? done : -EPERM;
    done = user_string(guest, path);
    return done < 0 ? done : chroot_call(guest);
}

/* A change of what a descriptor is open on; other calls are trapped by a filter of the guest's own. */
static bool is_change(long number)
{
    return number == SYS_fchmod || number == SYS_fchown || number == SYS_fsetxattr || number == SYS_fremovexattr ||
           number == SYS_ioctl;
}

/* A call that takes no path. */
static long plain_call(struct trapped *call)
{
    long result;
    if (debug_call(call, &result))
        return result;
    if (is_change(call->number) && hold_is_read_only((int)call->arguments[0]))
        return -EROFS;
    if (engine.root && (users_call(call, &result) || owners_descriptor_call(call, &result)))
        return result;
    return reissue(call);
}

/* Apart from the quick ones, which then touch few pages of the stack. */
static __attribute__((noinline)) long slow_call(const struct call *entry, struct trapped *call)
{
    switch ((enum call_shape)entry->shape) {
    case CALL_ONE:
        if (is_held(call->number))
            return held_call(entry, call);
        /* fall through */
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
    case CALL_ADDRESS:
        return address_call(entry, call);
    case CALL_RECEIVED:
        return received_call(call);
    case CALL_REFUSE:
        return call->number == SYS_chroot ? root_call(entry, call) : -EPERM;
    }
    return -ENOSYS;
}

static long path_call(const struct call *entry, struct trapped *call)
{
    long result;
    if (quick_call(entry, call, &result) || (engine.root && owners_call(entry, call, &result)))
        return result;
    return slow_call(entry, call);
}

long engine_call(struct trapped *call)
{
    if (call->number == SYS_uname)
        return kernel_call(call);
    if (call->number == SYS_getdents64)
        return listing_call(call);
    const struct call *entry = call_find(call->number);
    long result = entry ? path_call(entry, call) : plain_call(call);
    if (engine.root)
        owners_hide(call, &result);
    return result;
}
