/* The walk from a guest path to a host path.
 *
 * The guest path is walked a component at a time, so that links and ".." mean what they mean inside.  What
 * has been walked is kept as a guest path without links: ".." is then its parent, and the view that a place
 * lies in is told by its name.  The kernel is asked for one thing only, whether a place is a link.
 * Where names are too long deep.c goes on, by descriptors.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "path.h"
#include "proc.h"
#include "sys.h"
#include "walk.h"
#include "world.h"

/* The kernel names what is gone by the name that it had, and this: proc(5).  Something else may have that
 * name by now, and a file may be called so. */
static bool is_gone(const char *object, const char *host, size_t length)
{
    static const char mark[] = " (deleted)";
    struct stat by_object, by_name;
    size_t size = sizeof mark - 1;
    if (length < size || !bytes_equal(host + length - size, mark, size))
        return false;
    return sys_call4(SYS_newfstatat, AT_FDCWD, object, &by_object, 0) < 0 ||
           sys_call4(SYS_newfstatat, AT_FDCWD, host, &by_name, AT_SYMLINK_NOFOLLOW) < 0 ||
           by_object.st_dev != by_name.st_dev || by_object.st_ino != by_name.st_ino;
}

int path_of_directory(const struct path_world *world, int dirfd, char guest[PATH_SIZE])
{
    char host[PATH_SIZE], link[PROC_FILE_SIZE];
    if (dirfd == AT_FDCWD) {
        long size = sys_call2(SYS_getcwd, host, sizeof host);
        return size < 0 ? (int)size : path_to_guest(world, host, guest);
    }
    if (dirfd < 0)
        return -EBADF;
    proc_file(link, dirfd);
    long size = sys_call4(SYS_readlinkat, AT_FDCWD, link, host, sizeof host - 1);
    if (size < 0)
        return size == -ENOENT ? -EBADF : (int)size;
    host[size] = '\0';
    if (host[0] != '/')
        return -ENOTDIR;
    return is_gone(link, host, (size_t)size) ? -ENOENT : path_to_guest(world, host, guest);
}

int walk_map(struct walk *walk)
{
    return world_map(walk->world, walk->here, walk->length, walk->place);
}

static int walk_start(struct walk *walk, int dirfd, const char *guest)
{
    size_t size = bytes_length(guest);
    if (size == 0)
        return -ENOENT;
    if (size >= PATH_SIZE)
        return -ENAMETOOLONG;
    bytes_copy(walk->rest, guest, size + 1);
    if (guest[0] == '/')
        return 0;
    int length = path_of_directory(walk->world, dirfd, walk->here);
    if (length < 0)
        return length == -ENAMETOOLONG ? deep_start(walk, dirfd) : length;
    walk->length = length == 1 ? 0 : (size_t)length;
    return 0;
}

/* The kernel refuses "file/.." and "file/.": the place must be a directory. */
static int walk_expect_directory(struct walk *walk)
{
    struct stat info;
    if (walk->file >= 0)
        return 0;
    int result = walk_map(walk);
    if (result == 0)
        result = (int)sys_call4(SYS_newfstatat, AT_FDCWD, walk->place->host, &info, AT_SYMLINK_NOFOLLOW);
    bool missing = result == -ENOENT && (walk->flags & PATH_MISSING);
    if (result < 0 && !missing)
        return result;
    return missing || S_ISDIR(info.st_mode) ? 0 : -ENOTDIR;
}

static int walk_up(struct walk *walk)
{
    if (walk->file >= 0)
        return deep_up(walk);
    if (walk->length == 0)
        return 0;
    int result = walk_expect_directory(walk);
    if (result < 0)
        return result;
    while (walk->here[--walk->length] != '/')
        ;
    return 0;
}

static int walk_down(struct walk *walk, const char *name, size_t size)
{
    if (walk->length + size + 2 > sizeof walk->here)
        return -ENAMETOOLONG;
    walk->here[walk->length++] = '/';
    bytes_copy(walk->here + walk->length, name, size);
    walk->length += size;
    return walk_map(walk);
}

int walk_splice(struct walk *walk, const char *text, size_t size, size_t parent)
{
    size_t rest = bytes_length(walk->rest + walk->at);
    if (++walk->links > PATH_LINKS || (walk->flags & PATH_NO_LINKS))
        return -ELOOP;
    if (size + rest + 2 > sizeof walk->rest)
        return -ENAMETOOLONG;
    /* What is left begins with a slash, or is empty. */
    bytes_move(walk->rest + size, walk->rest + walk->at, rest + 1);
    bytes_copy(walk->rest, text, size);
    walk->at = 0;
    walk->length = text[0] == '/' ? 0 : parent;
    return 0;
}

/* A link of /proc on the way, as the place where the object's name is. */
static int walk_jump(struct walk *walk, const char *host, size_t size)
{
    if (host[0] != '/')
        return -ENOTDIR;
    if (is_gone(walk->place->host, host, size))
        return -ENOENT;
    int length = path_to_guest(walk->world, host, walk->here);
    if (length < 0)
        return length;
    walk->length = length == 1 ? 0 : (size_t)length;
    return ++walk->links > PATH_LINKS ? -ELOOP : 0;
}

/* A link of /proc at the end, which the kernel follows, for the object may have no name.  1, or -EACCES where
 * another process has what the container does not see: a name alone gives no such thing away. */
static int walk_object(struct walk *walk, enum proc_link kind, const char *host)
{
    static const char nameless[] = "/memfd:"; /* memfd_create(2) */
    char guest[PATH_SIZE];
    walk->is_object = true;
    if (host[0] != '/')
        return 1; /* a pipe, a socket */
    int length = path_to_guest(walk->world, host, guest);
    if (length > 0)
        walk->read_only = world_view(walk->world, guest, length == 1 ? 0 : (size_t)length)->read_only;
    else if (kind != PROC_OWN && !bytes_equal(host, nameless, sizeof nameless - 1))
        return -EACCES;
    return 1;
}

/* A link of /proc to what lies so deep that it has no name.  Nobody can tell which view a file of it lies in. */
static int walk_unnamed(struct walk *walk, enum proc_link kind, bool last)
{
    if (!last || kind != PROC_OWN)
        return deep_jump(walk);
    walk->is_object = true;
    for (size_t i = 0; i < walk->world->count; i++)
        walk->read_only = walk->read_only || walk->world->views[i].read_only;
    return 1;
}

/* Follows what lies at the place, if it is a link.  1 where the walk is over, for the kernel goes on. */
static int walk_follow(struct walk *walk, size_t parent, bool last)
{
    char text[PATH_SIZE];
    int result = walk_map(walk);
    if (result < 0)
        return result;
    enum proc_link kind = proc_link_kind(walk->place->host);
    bool refused = kind != PROC_NONE && (walk->flags & (PATH_NO_LINKS | PATH_NO_MAGIC));
    if (kind == PROC_ROOT && !refused) {
        walk->length = 0;
        return 0;
    }
    long size = sys_call4(SYS_readlinkat, AT_FDCWD, walk->place->host, text, sizeof text - 1);
    if (size == -EINVAL)
        return 0; /* no link */
    if (size == -ENOENT && (walk->flags & PATH_MISSING))
        return 0;
    if (size == -ENAMETOOLONG && kind != PROC_NONE && !refused)
        return walk_unnamed(walk, kind, last);
    if (size < 0)
        return last ? 1 : (int)size; /* the call itself will tell what is wrong, or make what is missing */
    text[size] = '\0';
    if (refused)
        return -ELOOP;
    /* By its name, for something else may lie there by now. */
    if (kind == PROC_EXE && walk->world->exe_host[0])
        return walk_splice(walk, walk->world->exe_guest, bytes_length(walk->world->exe_guest), parent);
    if (kind == PROC_NONE)
        return walk_splice(walk, text, (size_t)size, parent);
    return last ? walk_object(walk, kind, text) : walk_jump(walk, text, (size_t)size);
}

/* One component.  1 where the walk is over. */
static int walk_step(struct walk *walk)
{
    const char *name = walk->rest + walk->at;
    size_t size = 0, parent = walk->length;
    while (name[size] && name[size] != '/')
        size++;
    walk->at += size;
    size_t next = walk->at;
    while (walk->rest[next] == '/')
        next++;
    bool last = walk->rest[next] == '\0';
    bool dot = size == 1 && name[0] == '.', dots = size == 2 && name[0] == '.' && name[1] == '.';
    /* "dir/." is a directory as "dir/" is. */
    walk->slash = last && (next > walk->at || dot);
    if (last && (dot || dots) && (walk->flags & PATH_NAME)) {
        walk->dots = dot ? "." : "..";
        return walk_expect_directory(walk);
    }
    if (dot)
        return last ? walk_expect_directory(walk) : 0;
    if (dots)
        return walk_up(walk);
    bool follows = !last || (walk->flags & PATH_FOLLOW) || (walk->slash && !(walk->flags & PATH_NAME));
    int result = walk->file >= 0 ? -ENAMETOOLONG : walk_down(walk, name, size);
    if (result == -ENAMETOOLONG) {
        walk->length = parent;
        result = walk->file >= 0 ? 0 : deep_enter(walk);
        return result < 0 ? result : deep_down(walk, name, size, last, follows);
    }
    return result < 0 || !follows ? result : walk_follow(walk, parent, last);
}

/* The kernel pins what is bound; a name cannot.  -ENOENT where a link stands in the way to a view by now. */
static int view_check(const struct path_view *view)
{
    char host[PATH_SIZE], text[1];
    bytes_copy(host, view->host, view->host_length + 1);
    for (size_t end = view->firm_length + 1; end <= view->host_length; end++) {
        char next = host[end];
        if (next != '/' && next != '\0')
            continue;
        host[end] = '\0';
        if (sys_call4(SYS_readlinkat, AT_FDCWD, host, text, sizeof text) >= 0)
            return -ENOENT;
        host[end] = next;
    }
    return 0;
}

int walk_check(const struct walk *walk)
{
    return view_check(world_view(walk->world, walk->here, walk->length));
}

/* The kernel looks no further at such a name than to say what is wrong with it. */
static int walk_add_dots(struct walk *walk)
{
    struct path_place *place = walk->place;
    size_t size = bytes_length(walk->dots);
    if (place->length + size + 2 > PATH_SIZE)
        return -ENAMETOOLONG;
    if (place->host[place->length - 1] != '/')
        place->host[place->length++] = '/';
    bytes_copy(place->host + place->length, walk->dots, size + 1);
    place->length += size;
    place->read_only = place->is_view = false;
    return 0;
}

static int walk_finish(struct walk *walk)
{
    struct path_place *place = walk->place;
    if (walk->file >= 0) {
        deep_finish(walk);
        return walk->flags & PATH_DEEP ? 0 : -ENAMETOOLONG;
    }
    int result = walk_map(walk);
    if (result == 0)
        result = walk_check(walk);
    if (result < 0)
        return result;
    if (walk->dots)
        return walk_add_dots(walk);
    place->is_object = walk->is_object;
    if (walk->is_object)
        place->read_only = walk->read_only;
    place->is_exe = walk->world->exe_host[0] && proc_link_kind(place->host) == PROC_EXE;
    if (walk->slash && place->host[place->length - 1] != '/') {
        place->host[place->length++] = '/'; /* world_map leaves room for it */
        place->host[place->length] = '\0';
    }
    return 0;
}

static int walk_whole(struct walk *walk, int dirfd, const char *guest)
{
    walk->length = walk->at = 0;
    walk->links = 0;
    walk->slash = walk->is_object = walk->read_only = false;
    walk->dots = NULL;
    walk->name[0] = '\0';
    walk->file = -1;
    int result = walk_start(walk, dirfd, guest);
    while (result == 0) {
        while (walk->rest[walk->at] == '/')
            walk->at++;
        if (walk->rest[walk->at] == '\0')
            break;
        result = walk_step(walk);
    }
    result = result < 0 ? result : walk_finish(walk);
    if (result < 0) {
        deep_leave(walk);
        walk->place->file = -1;
    }
    return result;
}

void path_end(struct path_place *place)
{
    if (place->file >= 0)
        sys_call1(SYS_close, place->file);
    place->file = -1;
}

int path_resolve(const struct path_world *world, int dirfd, const char *guest, unsigned flags,
                 struct path_place *place)
{
    struct walk walk;
    walk.world = world;
    walk.place = place;
    walk.flags = flags;
    return walk_whole(&walk, dirfd, guest);
}

int path_name(const struct path_world *world, int dirfd, const char *guest, unsigned flags,
              struct path_place *place, char name[PATH_SIZE])
{
    struct walk walk;
    walk.world = world;
    walk.place = place;
    walk.flags = flags;
    int result = walk_whole(&walk, dirfd, guest);
    bytes_copy(name, walk.here, walk.length);
    name[walk.length] = '\0';
    return result;
}
