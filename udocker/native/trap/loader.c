/* Where a program and its dynamic loader lie, in few calls of the kernel: every execve asks.
 *
 * A program's loader is nearly always that of the program which starts it.  So what was found for this process is
 * remembered: the place, and the link at the end of the way to it, which names the loader's release in some
 * distributions and is exchanged with that.  Links to directories on the way (/lib64) are taken for what they were when
 * this program started.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "quick.h"

static const char UNKNOWN[] = "/"; /* for the link: the way was walked, and is to be walked again */

/* Without O_NONBLOCK a named pipe would wait for who writes to it. */
static bool open_decided(const struct quick *quick, const void *unused, long *result)
{
    (void)unused;
    *result = quick_open(AT_FDCWD, quick->host, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    return *result >= 0 || *result == -ENOENT || *result == -ENOTDIR;
}

static bool find(const char *guest, struct quick *quick, struct quick_link *link, long *file)
{
    size_t length = bytes_length(guest);
    if (!engine.openat2 || guest[0] != '/' || length >= QUICK_SHORT)
        return false;
    bytes_copy(quick->guest, guest, length + 1);
    quick->length = length;
    quick->follow = true;
    quick->link = link;
    return quick_absolute(quick, open_decided, NULL, file);
}

bool program_find(const char *guest, struct path_place *place, char name[PATH_SIZE], long *file)
{
    struct quick quick;
    long found;
    *file = -1;
    if (!find(guest, &quick, NULL, &found))
        return false;
    if (found >= 0 && quick.slash) { /* no directory is a program, and what else it is the walk tells */
        sys_call1(SYS_close, found);
        return false;
    }
    *file = found;
    if (found < 0)
        return true;
    place->length = bytes_length(quick.host);
    place->file = -1;
    bytes_copy(place->host, quick.host, place->length + 1);
    bytes_copy(name, quick.guest, quick.length + 1);
    return true;
}

long program_check(long file)
{
    struct stat info;
    long result = sys_call4(SYS_faccessat2, file, "", 1 /* X_OK */, AT_EMPTY_PATH);
    if (result == 0)
        result = sys_call2(SYS_fstat, file, &info);
    return result < 0 ? result : S_ISREG(info.st_mode) ? 0 : -EACCES;
}

static bool is_same(const char *one, const char *other)
{
    size_t length = bytes_length(one);
    return length == bytes_length(other) && bytes_equal(one, other, length);
}

static bool is_executable(const char *host)
{
    return sys_call3(SYS_faccessat, AT_FDCWD, host, 1 /* X_OK */) == 0;
}

/* Whether what this process remembers is still so. */
static bool is_remembered(const char *guest)
{
    const struct loader *loader = &engine.loader;
    char text[QUICK_TEXT];
    if (!loader->guest || !is_same(loader->guest, guest))
        return false;
    if (loader->link[0]) {
        long size = sys_call4(SYS_readlinkat, AT_FDCWD, loader->link, text, sizeof text);
        if (size != (long)bytes_length(loader->text) || !bytes_equal(text, loader->text, (size_t)size))
            return false;
    }
    return is_executable(loader->host);
}

static bool find_quickly(const char *guest, struct loader_room *room, struct loader *loader)
{
    struct quick quick;
    long file = -1;
    room->link.count = 0;
    if (!find(guest, &quick, &room->link, &file) || file < 0)
        return false;
    sys_call1(SYS_close, file);
    bytes_copy(room->place.host, quick.host, bytes_length(quick.host) + 1);
    bool linked = room->link.count == 1;
    *loader = (struct loader){guest, room->place.host, linked ? room->link.host : room->link.count ? UNKNOWN : "",
                              linked ? room->link.text : ""};
    return is_executable(room->place.host);
}

int loader_find(const char *guest, struct loader_room *room, struct loader *loader)
{
    if (!guest[0]) {
        *loader = (struct loader){"", "", "", ""};
        return 0;
    }
    if (is_remembered(guest)) {
        *loader = engine.loader;
        return 0;
    }
    if (find_quickly(guest, room, loader))
        return 0;
    int result = path_resolve(&engine.world, AT_FDCWD, guest, PATH_FOLLOW, &room->place);
    if (result == 0)
        result = (int)sys_call3(SYS_faccessat, AT_FDCWD, room->place.host, 1 /* X_OK */);
    *loader = (struct loader){guest, room->place.host, UNKNOWN, ""};
    return result;
}

void loader_remember(const struct loader *loader)
{
    if (!loader->guest[0] || is_same(loader->link, UNKNOWN))
        return;
    struct loader kept = {engine_keep(loader->guest), engine_keep(loader->host), engine_keep(loader->link),
                          engine_keep(loader->text)};
    if (kept.guest && kept.host && kept.link && kept.text)
        engine.loader = kept;
}

/* A link has come in the way to what was remembered.  Apart, for the room on the stack that few starts need. */
static __attribute__((noinline)) int load_walked(const struct loader *loader, struct image *image)
{
    struct path_place place;
    int result = path_resolve(&engine.world, AT_FDCWD, loader->guest, PATH_FOLLOW, &place);
    return result < 0 ? result : load_program(place.host, LOAD_INTERPRETER, image);
}

int loader_load(const struct loader *loader, struct image *image)
{
    int result = load_program(loader->host, LOAD_INTERPRETER, image);
    return result == -ELOOP ? load_walked(loader, image) : result;
}
