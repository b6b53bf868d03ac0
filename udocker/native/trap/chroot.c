/* chroot(2), for an emulated root: a directory of the container becomes its root, and what was bound below is so still.
 *
 * Only for a process that is alone in its memory, for others would see the world change in the middle of a call.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>

#include "trap.h"

/* What lies at `guest` as seen from `root`, or NULL where it is not below. */
static const char *below(const char *guest, const char *root, size_t length)
{
    if (!bytes_equal(guest, root, length) || guest[length] != '/')
        return NULL;
    return guest + length;
}

/* A world of its own, for signal handlers go on in the old one meanwhile. */
struct moved {
    struct path_world world;
    bool unlisted[PATH_VIEWS];
};

static int moved_make(struct moved *moved, const char *root, size_t length, const struct path_place *place)
{
    const char *host = engine_keep(place->host);
    *moved = (struct moved){.world = {.exe_host = engine.world.exe_host, .exe_guest = engine.world.exe_guest}};
    int result = host ? path_world_add(&moved->world, "", host, place->read_only) : -ENOSPC;
    for (size_t i = 1; result == 0 && i < engine.world.count; i++) {
        const struct path_view *view = &engine.world.views[i];
        const char *guest = below(view->guest, root, length);
        if (!guest)
            continue;
        result = path_world_add(&moved->world, guest, view->host, view->read_only);
        moved->unlisted[moved->world.count - 1] = engine.unlisted[i];
    }
    return result;
}

static int world_move(const char *root, size_t length, const struct path_place *place)
{
    static struct moved moved;
    size_t used = engine.text_used;
    int result = moved_make(&moved, root, length, place);
    if (result < 0) {
        engine.text_used = used;
        return result;
    }
    engine.world = moved.world;
    engine.loader.guest = NULL;
    bytes_copy((char *)engine.unlisted, (const char *)moved.unlisted, sizeof moved.unlisted);
    return 0;
}

long chroot_call(const char *guest)
{
    struct path_place place;
    char name[PATH_SIZE];
    if (!root_can(users_ids(), CAP_SYS_CHROOT))
        return -EPERM;
    int result = path_name(&engine.world, AT_FDCWD, guest, PATH_FOLLOW, &place, name);
    if (result < 0)
        return result;
    size_t length = bytes_length(name);
    if (length == 0)
        return 0;
    if (!stacks_are_alone() || place.is_object)
        return -EPERM;
    if (place.host[place.length - 1] == '/')
        place.host[place.length - 1] = '\0';
    return world_move(name, length, &place);
}
