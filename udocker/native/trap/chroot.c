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

static int world_move(const char *root, size_t length, const struct path_place *place)
{
    static struct path_world old;
    static bool unlisted[PATH_VIEWS];
    old = engine.world;
    bytes_copy((char *)unlisted, (const char *)engine.unlisted, sizeof unlisted);
    engine.world.count = 0;
    for (size_t i = 0; i < PATH_VIEWS; i++)
        engine.unlisted[i] = false;
    int result = engine_put_view("", place->host, place->read_only);
    for (size_t i = 1; result == 0 && i < old.count; i++) {
        const char *guest = below(old.views[i].guest, root, length);
        if (!guest)
            continue;
        result = engine_put_view(guest, old.views[i].host, old.views[i].read_only);
        if (result == 0 && unlisted[i])
            listing_hide(guest);
    }
    if (result < 0) {
        engine.world = old;
        bytes_copy((char *)engine.unlisted, (const char *)unlisted, sizeof unlisted);
    }
    return result;
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
