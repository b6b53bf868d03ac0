/* The walk where directories lie so deep that their names are longer than PATH_SIZE: by descriptors.
 *
 * What is held lies in the world: that is looked at when the first one is opened, by the nearest directory above that
 * has a name, and what lies below stays below.  A directory's parent is in the world as well, unless the directory
 * is a view's; then the parent has a name, for a view's is never too long, and the name tells.
 */

#include <errno.h>
#include <fcntl.h>

#include "proc.h"
#include "sys.h"
#include "walk.h"
#include "world.h"

enum { STEPS = 1024 /* up at once: three bytes each in a path */ };

static long directory_open(long dirfd, const char *path)
{
    return sys_call4(SYS_openat, dirfd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

/* Opens the directory that is some steps above. */
static long above_open(long dirfd, size_t steps)
{
    char path[3 * STEPS + 1];
    for (size_t i = 0; i < steps; i++)
        bytes_copy(path + 3 * i, "../", 3);
    path[3 * steps] = '\0';
    return directory_open(dirfd, path);
}

/* Steps grow as long as names are too long, and shrink again so as not to go too far. */
int path_above(const struct path_world *world, int dirfd, char guest[PATH_SIZE])
{
    long below = dirfd;
    size_t steps = 1;
    bool grows = true;
    int result = path_of_directory(world, dirfd, guest);
    while (result == -ENAMETOOLONG) {
        long file = above_open(below, steps);
        if (file < 0) {
            result = (int)file;
            break;
        }
        int found = path_of_directory(world, (int)file, guest);
        bool is_deep = found == -ENAMETOOLONG;
        if (!is_deep && steps == 1)
            result = found;
        grows = grows && is_deep;
        steps = grows ? (2 * steps > STEPS ? STEPS : 2 * steps) : (steps + 1) / 2;
        long other = is_deep ? below : file;
        below = is_deep ? file : below;
        if (other != dirfd)
            sys_call1(SYS_close, other);
    }
    if (below != dirfd)
        sys_call1(SYS_close, below);
    return result;
}

/* Takes a descriptor, if what it is open on lies in the world. */
static int take(struct walk *walk, long file)
{
    char guest[PATH_SIZE];
    if (file < 0)
        return (int)file;
    int length = path_above(walk->world, (int)file, guest);
    if (length < 0) {
        sys_call1(SYS_close, file);
        return length;
    }
    walk->file = file;
    walk->length = 0;
    walk->read_only =
        walk->read_only || world_view(walk->world, guest, length == 1 ? 0 : (size_t)length)->read_only;
    return 0;
}

int deep_start(struct walk *walk, int dirfd)
{
    return take(walk, directory_open(dirfd, "."));
}

int deep_enter(struct walk *walk)
{
    int result = walk_map(walk);
    if (result == 0)
        result = walk_check(walk);
    if (result < 0)
        return result;
    walk->read_only = walk->place->read_only;
    return take(walk, directory_open(AT_FDCWD, walk->place->host));
}

int deep_jump(struct walk *walk)
{
    if (++walk->links > PATH_LINKS)
        return -ELOOP;
    return take(walk, sys_call4(SYS_openat, AT_FDCWD, walk->place->host, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
}

void deep_leave(struct walk *walk)
{
    if (walk->file >= 0)
        sys_call1(SYS_close, walk->file);
    walk->file = -1;
    walk->read_only = false;
}

int deep_up(struct walk *walk)
{
    long file = directory_open(walk->file, "..");
    if (file < 0)
        return (int)file;
    int length = path_of_directory(walk->world, (int)file, walk->here);
    if (length == -ENAMETOOLONG) {
        sys_call1(SYS_close, walk->file);
        walk->file = file;
        return 0;
    }
    sys_call1(SYS_close, file);
    deep_leave(walk);
    walk->length = length <= 1 ? 0 : (size_t)length;
    return length < 0 ? length : 0;
}

/* 1 where the name leads no further, for it is no link. */
static int link_follow(struct walk *walk, bool last)
{
    char text[PATH_SIZE];
    long size = sys_call4(SYS_readlinkat, walk->file, walk->name, text, sizeof text - 1);
    if (size < 0)
        return size == -EINVAL || last ? 1 : (int)size; /* the call itself will tell what is wrong */
    text[size] = '\0';
    int result = walk_splice(walk, text, (size_t)size, 0);
    if (result == 0 && text[0] == '/')
        deep_leave(walk);
    walk->name[0] = '\0';
    return result;
}

int deep_down(struct walk *walk, const char *name, size_t size, bool last, bool follows)
{
    if (size >= sizeof walk->name)
        return -ENAMETOOLONG;
    bytes_copy(walk->name, name, size);
    walk->name[size] = '\0';
    int result = follows ? link_follow(walk, last) : 1;
    if (result <= 0 || last)
        return result;
    long file = directory_open(walk->file, walk->name);
    walk->name[0] = '\0';
    if (file < 0)
        return (int)file;
    sys_call1(SYS_close, walk->file);
    walk->file = file;
    return 0;
}

void deep_finish(struct walk *walk)
{
    struct path_place *place = walk->place;
    const char *name = walk->dots ? walk->dots : walk->name[0] ? walk->name : ".";
    size_t size = bytes_length(name);
    place->length = proc_file(place->host, walk->file);
    place->host[place->length++] = '/';
    place->start = place->length;
    bytes_copy(place->host + place->length, name, size);
    place->length += size;
    if (walk->slash && walk->name[0] && !walk->dots)
        place->host[place->length++] = '/';
    place->host[place->length] = '\0';
    place->read_only = walk->read_only && !walk->dots;
    place->is_view = place->is_exe = place->is_object = false;
    place->file = walk->file;
}
