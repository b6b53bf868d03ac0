/* What a run has for itself: directories and files in memory that end with it. */

#include "userns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* More than any file of accounts has; Python's side has the same bound. */
enum { FILE_MAX_SIZE = 16 << 20 };

static int directory_is_empty(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy < 0 ? NULL : fdopendir(copy);
    if (!directory)
        return 0; /* not ours to read: what is in there stays */
    int count = 0;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count <= 2;
}

static int memory_mount(const char *path, const char *options)
{
    return mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

/* Makes sure that an image's volume is a directory, and writable as docker's anonymous volumes are.  In a
 * container that belongs to somebody else it can be neither made nor written: an empty one is then replaced
 * by one in memory, one with files stays as it is, and one that is missing is left to the program. */
int scratch_volume(const struct tree *tree, const char *path)
{
    struct stat info;
    OWNED_FD fd = target_open(tree, path, TARGET_DIRECTORY);
    if (fd == -EACCES || fd == -EPERM || fd == -EROFS)
        return 0;
    if (fd < 0 || fstat(fd, &info) < 0) {
        int error = fd < 0 ? -fd : errno;
        report_error(path, error, target_hint(error));
        return -error;
    }
    if (!S_ISDIR(info.st_mode) || access(place_of(fd).path, W_OK) == 0 || !directory_is_empty(fd))
        return 0;
    int result = memory_mount(place_of(fd).path, "mode=0755");
    if (result < 0)
        report_error(path, -result, "a volume in memory");
    return result;
}

/* Makes an empty directory in memory. */
int scratch_mount(const struct tree *tree, const char *path)
{
    OWNED_FD fd = target_open(tree, path, TARGET_DIRECTORY);
    int result = fd < 0 ? fd : memory_mount(place_of(fd).path, "mode=0755");
    if (result < 0)
        report_error(path, -result, target_hint(-result));
    return result;
}

static int all_write(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t done = write(fd, data, length);
        if (done < 0)
            return -errno;
        data += done;
        length -= (size_t)done;
    }
    return 0;
}

/* Copies a regular file; returns its last byte, which is a newline for an empty one, or -errno. */
static int file_copy(int from, int to)
{
    char block[65536];
    struct stat info;
    int last = '\n';
    OWNED_FD fd = open(place_of(from).path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0)
        return -errno;
    if (!S_ISREG(info.st_mode))
        return -EINVAL;
    for (size_t total = 0; total <= FILE_MAX_SIZE;) {
        ssize_t length = read(fd, block, sizeof block);
        if (length <= 0)
            return length < 0 ? -errno : last;
        int result = all_write(to, block, (size_t)length);
        if (result < 0)
            return result;
        total += (size_t)length;
        last = block[length - 1];
    }
    return -EFBIG;
}

/* Makes the file called `name` in `memory`, with the target's permissions, and binds it over the target. */
static int extension_make(const struct tree *tree, const struct extension *extension, int memory, const char *name)
{
    OWNED_FD target = target_open(tree, extension->target, TARGET_FILE);
    if (target < 0)
        return target;
    OWNED_FD source = *extension->source ? open(extension->source, O_PATH | O_CLOEXEC)
                                         : fcntl(target, F_DUPFD_CLOEXEC, 0);
    OWNED_FD file = openat(memory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat info;
    if (source < 0 || file < 0 || fstat(target, &info) < 0 || fchmod(file, (info.st_mode & 0755) | 0400) < 0)
        return -errno;
    int result = file_copy(source, file);
    if (result >= 0 && result != '\n' && *extension->text)
        result = all_write(file, "\n", 1);
    if (result >= 0)
        result = all_write(file, extension->text, strlen(extension->text));
    if (result < 0)
        return result;
    return mount(place_of(file).path, place_of(target).path, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

/* The copies lie in a file system in memory that is mounted over the root for as long as they are made: no
 * other directory is sure to be there, and it leaves nothing behind.  The binds keep it alive afterwards. */
int scratch_extend(const struct tree *tree, const struct extension *extensions, size_t count)
{
    if (count == 0)
        return 0;
    int result = memory_mount(tree->path, "mode=0700");
    if (result < 0) {
        report_error(extensions[0].target, -result, "a file in memory");
        return result;
    }
    OWNED_FD memory = open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    result = memory < 0 ? -errno : 0;
    for (size_t i = 0; result >= 0 && i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "%zu", i);
        result = extension_make(tree, &extensions[i], memory, name);
        if (result < 0)
            report_error(extensions[i].target, -result, target_hint(-result));
    }
    if (umount2(tree->path, MNT_DETACH) < 0 && result >= 0) {
        result = -errno;
        report_error(tree->path, -result, "unmounting a file system in memory");
    }
    return result < 0 ? result : 0;
}
