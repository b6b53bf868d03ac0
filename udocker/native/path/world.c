/* Which place of the host a place of the container is, by names alone. */

#include "world.h"

#include <errno.h>

#include "sys.h"

/* Whether `path` is `prefix` or lies below it. */
static bool lies_in(const char *path, size_t length, const char *prefix, size_t prefix_length)
{
    return length >= prefix_length && bytes_equal(path, prefix, prefix_length) &&
           (length == prefix_length || path[prefix_length] == '/');
}

/* Whether a text has the form of a view's path: "" or "/name/name", with no name that means something else. */
static bool is_canonical(const char *path, size_t length)
{
    for (size_t i = 0; i < length;) {
        if (path[i] != '/')
            return false;
        size_t name = ++i;
        while (i < length && path[i] != '/')
            i++;
        size_t size = i - name;
        if (size == 0 || (size == 1 && path[name] == '.') ||
            (size == 2 && path[name] == '.' && path[name + 1] == '.'))
            return false;
    }
    return true;
}

/* A view whose host path lies in another one, where the container's programs may put something in its way. */
static void soften(struct path_view *view, const struct path_view *other)
{
    if (!other->read_only && other->host_length < view->firm_length &&
        lies_in(view->host, view->host_length, other->host, other->host_length))
        view->firm_length = other->host_length;
}

int path_world_add(struct path_world *world, const char *guest, const char *host, bool read_only)
{
    struct path_view view = {guest, bytes_length(guest), host, bytes_length(host), bytes_length(host), read_only};
    if (view.guest_length >= PATH_SIZE || view.host_length >= PATH_SIZE)
        return -ENAMETOOLONG;
    if (!is_canonical(guest, view.guest_length) || !is_canonical(host, view.host_length))
        return -EINVAL;
    if (world->count == 0 && view.guest_length != 0)
        return -EINVAL; /* the root comes first */
    size_t place = 0;
    while (place < world->count && !(world->views[place].guest_length == view.guest_length &&
                                     bytes_equal(world->views[place].guest, guest, view.guest_length)))
        place++;
    if (place == PATH_VIEWS)
        return -ENOSPC;
    world->views[place] = view;
    if (place == world->count)
        world->count++;
    for (size_t i = 0; i < world->count; i++) {
        soften(&world->views[place], &world->views[i]);
        soften(&world->views[i], &world->views[place]);
    }
    return 0;
}

const struct path_view *world_view(const struct path_world *world, const char *guest, size_t length)
{
    const struct path_view *best = &world->views[0];
    for (size_t i = 1; i < world->count; i++) {
        const struct path_view *view = &world->views[i];
        if (view->guest_length >= best->guest_length && lies_in(guest, length, view->guest, view->guest_length))
            best = view;
    }
    return best;
}

int world_map(const struct path_world *world, const char *guest, size_t length, struct path_place *place)
{
    const struct path_view *view = world_view(world, guest, length);
    size_t below = length - view->guest_length;
    if (view->host_length + below + 2 > PATH_SIZE)
        return -ENAMETOOLONG;
    bytes_copy(place->host, view->host, view->host_length);
    bytes_copy(place->host + view->host_length, guest + view->guest_length, below);
    place->length = view->host_length + below;
    if (place->length == 0)
        place->host[place->length++] = '/';
    place->host[place->length] = '\0';
    place->read_only = view->read_only;
    place->is_view = below == 0;
    place->is_exe = place->is_object = false;
    place->file = -1;
    return 0;
}

int path_to_guest(const struct path_world *world, const char *host, char guest[PATH_SIZE])
{
    size_t length = bytes_length(host);
    const struct path_view *best = NULL;
    if (length == 1 && host[0] == '/')
        length = 0;
    for (size_t i = 0; i < world->count; i++) {
        const struct path_view *view = &world->views[i];
        if (lies_in(host, length, view->host, view->host_length) &&
            (!best || view->host_length > best->host_length))
            best = view;
    }
    if (!best || (length > 0 && host[0] != '/'))
        return -ENOENT;
    size_t below = length - best->host_length;
    size_t size = best->guest_length + below;
    if (size + 2 > PATH_SIZE)
        return -ENAMETOOLONG;
    bytes_copy(guest, best->guest, best->guest_length);
    bytes_copy(guest + best->guest_length, host + best->host_length, below);
    if (size == 0)
        guest[size++] = '/';
    guest[size] = '\0';
    return (int)size;
}

/* ---- what names alone can tell of a path ---- */

struct name {
    const char *start;
    size_t size;
};

/* The next component from `*path` on, which moves behind it; size 0 at the end. */
static struct name next_name(const char **path)
{
    while (**path == '/')
        ++*path;
    struct name name = {*path, 0};
    while (**path && **path != '/')
        ++*path;
    name.size = (size_t)(*path - name.start);
    return name;
}

static bool is_dots(struct name name)
{
    return name.size == 2 && name.start[0] == '.' && name.start[1] == '.';
}

/* Whether a view lies at a place of this name.  Only through such a component can a relative path enter a
 * view that its directory is not in already. */
static bool names_view(const struct path_world *world, struct name name)
{
    for (size_t i = 1; i < world->count; i++) {
        const struct path_view *view = &world->views[i];
        if (view->guest_length > name.size && view->guest[view->guest_length - name.size - 1] == '/' &&
            bytes_equal(view->guest + view->guest_length - name.size, name.start, name.size))
            return true;
    }
    /* /proc/self/exe, from a directory of /proc */
    return name.size == 3 && bytes_equal(name.start, "exe", 3);
}

bool path_is_plain(const struct path_world *world, const char *guest)
{
    if (guest[0] == '/' || guest[0] == '\0')
        return false;
    for (struct name name = next_name(&guest); name.size; name = next_name(&guest))
        if (is_dots(name) || names_view(world, name))
            return false;
    return true;
}

bool path_guess(const struct path_world *world, const char *guest, struct path_place *place)
{
    char clean[PATH_SIZE];
    size_t length = 0;
    if (guest[0] != '/')
        return false;
    for (struct name name = next_name(&guest); name.size; name = next_name(&guest)) {
        if (is_dots(name) || length + name.size + 2 > sizeof clean)
            return false;
        if (name.size == 1 && name.start[0] == '.')
            continue;
        clean[length++] = '/';
        bytes_copy(clean + length, name.start, name.size);
        length += name.size;
    }
    bool slash = length > 0 && (guest[-1] == '/' || (guest[-1] == '.' && guest[-2] == '/'));
    if (world_map(world, clean, length, place) < 0 || place->length + 2 > PATH_SIZE)
        return false;
    if (slash && place->host[place->length - 1] != '/') {
        place->host[place->length++] = '/';
        place->host[place->length] = '\0';
    }
    return true;
}
