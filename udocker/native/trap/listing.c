/* Names that directories lack on the host, because the container could not be written when something was bound
 * there: getdents64(2) shows them too.
 *
 * They come with the first entries, right behind them.  That keeps no state: what follows is read from where the
 * kernel's own last entry says, and rewinddir(3) brings them again.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "i386.h"

enum { NAME_SIZE = 256, FIRST = 1024 /* room that the kernel's own entries need at least */ };

/* struct linux_dirent64 */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[NAME_SIZE];
};

enum { HEAD = offsetof(struct entry, name) };

bool listing_is_trapped(void)
{
    for (size_t i = 0; i < engine.world.count; i++)
        if (engine.unlisted[i])
            return true;
    return false;
}

void listing_hide(const char *guest)
{
    size_t length = bytes_length(guest);
    for (size_t i = 0; i < engine.world.count; i++) {
        const struct path_view *view = &engine.world.views[i];
        if (view->guest_length == length && bytes_equal(view->guest, guest, length))
            engine.unlisted[i] = true;
    }
}

/* The name of an unlisted view that lies in the directory, or NULL. */
static const char *name_in(size_t number, const char *directory, size_t length)
{
    const struct path_view *view = &engine.world.views[number];
    if (!engine.unlisted[number] || view->guest_length <= length + 1 || view->guest[length] != '/' ||
        !bytes_equal(view->guest, directory, length))
        return NULL;
    const char *name = view->guest + length + 1;
    for (const char *c = name; *c; c++)
        if (*c == '/')
            return NULL;
    return name;
}

static unsigned short entry_size(const char *name)
{
    return (unsigned short)((HEAD + bytes_length(name) + 1 + 7) & ~7ul);
}

static void entry_make(struct entry *entry, const struct path_view *view, const char *name, int64_t offset)
{
    struct stat info = {0};
    sys_call2(SYS_lstat, view->host[0] ? view->host : "/", &info);
    *entry = (struct entry){
        .inode = info.st_ino ? info.st_ino : 1,
        .offset = offset,
        .size = entry_size(name),
        .type = (unsigned char)(info.st_mode >> 12), /* as readdir(3) has it: IFTODT */
    };
    bytes_copy(entry->name, name, bytes_length(name) + 1);
}

/* Where the last of the kernel's entries says that the next one is. */
static int last_offset(const char *buffer, long length, int64_t *offset)
{
    struct entry head;
    for (long at = 0; at < length; at += head.size) {
        int result = user_read(&head, buffer + at, HEAD);
        if (result < 0 || head.size == 0)
            return -EFAULT;
        *offset = head.offset;
    }
    return 0;
}

static long names_add(const char *directory, size_t length, char *buffer, long used)
{
    struct entry entry;
    int64_t offset = 0;
    int result = last_offset(buffer, used, &offset);
    for (size_t i = 0; result == 0 && i < engine.world.count; i++) {
        const char *name = name_in(i, directory, length);
        if (!name)
            continue;
        entry_make(&entry, &engine.world.views[i], name, offset);
        result = user_write(buffer + used, &entry, entry.size);
        used += entry.size;
    }
    return result < 0 ? result : used;
}

/* Offsets of 32 bits come by the call of 32-bit numbers alone, from a file system that has both kinds: ext4(5). */
static long entries_read(const long *arguments, long room)
{
    const long narrow[6] = {arguments[0], arguments[1], room};
    return engine.i386 ? i386_raw(220 /* getdents64 */, narrow) : sys_call3(SYS_getdents64, arguments[0], arguments[1], room);
}

long listing_call(const struct trapped *call)
{
    char directory[PATH_SIZE];
    const long *a = call->arguments;
    long more = 0, room = (unsigned)a[2];
    int length = path_of_directory(&engine.world, (int)a[0], directory);
    length = length == 1 ? 0 : length;
    for (size_t i = 0; length >= 0 && i < engine.world.count; i++) {
        const char *name = name_in(i, directory, (size_t)length);
        more += name ? entry_size(name) : 0;
    }
    bool first = more > 0 && room >= more + FIRST && sys_call3(SYS_lseek, a[0], 0, SEEK_CUR) == 0;
    long used = entries_read(a, first ? room - more : room);
    return first && used > 0 ? names_add(directory, (size_t)length, (char *)a[1], used) : used;
}
