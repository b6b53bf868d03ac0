/* The container's mounts: its root, the binds below it, and the step into it. */

#include "userns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442 /* the same on every architecture */
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
enum { ALL_BELOW = 0x8000 /* AT_RECURSIVE */, READ_ONLY = 1 /* MOUNT_ATTR_RDONLY */ };

/* mount_setattr(2); declared here because older systems' headers lack it. */
struct attribute_request {
    uint64_t set, clear, propagation, userns_fd;
};

/* The flags of a mount that a less privileged namespace must not clear, in mount(2)'s terms. */
static unsigned long flags_of(const struct statfs *info)
{
    /* f_flags as in statfs(2); except for relatime they are the numbers of mount(2). */
    const unsigned long same = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME;
    const unsigned long relatime = 0x1000;
    unsigned long flags = (unsigned long)info->f_flags;
    return (flags & same) | (flags & relatime ? MS_RELATIME : 0);
}

/* A remount sets all flags at once, and leaving out one that came from the host is refused with EPERM:
 * mount_namespaces(7), section "Restrictions on mount namespaces". */
static int mount_set_read_only(const char *path)
{
    struct statfs info;
    if (statfs(path, &info) < 0)
        return -errno;
    unsigned long flags = flags_of(&info);
    if (flags & MS_RDONLY)
        return 0;
    return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0 ? -errno : 0;
}

/* Undoes the octal escapes of proc(5), /proc/[pid]/mountinfo, in place. */
static void unescape(char *text)
{
    char *out = text;
    for (; *text; text++) {
        unsigned byte;
        if (*text == '\\' && sscanf(text, "\\%3o", &byte) == 1) {
            *out++ = (char)byte;
            text += 3;
        } else {
            *out++ = *text;
        }
    }
    *out = '\0';
}

/* The mount point in a line of mountinfo, its fifth field; NULL for a line that has none. */
static char *mount_point_of(char *line)
{
    char *field = NULL;
    for (int i = 0; i < 5; i++)
        field = strsep(&line, " ");
    if (field)
        unescape(field);
    return field;
}

/* mount_setattr's work on older kernels: remounts every mount at or below `top`. */
static int mounts_set_read_only(const char *top)
{
    size_t size = 0, length = strlen(top);
    char *line = NULL;
    int result = 0;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    if (!mounts)
        return -errno;
    while (result == 0 && getline(&line, &size, mounts) >= 0) {
        const char *point = mount_point_of(line);
        if (point && strncmp(point, top, length) == 0 && (point[length] == '/' || point[length] == '\0'))
            result = mount_set_read_only(point);
    }
    free(line);
    fclose(mounts);
    return result;
}

static int bind_set_read_only(const struct tree *tree, const struct bind *bind)
{
    struct attribute_request request = {.set = READ_ONLY};
    char path[PATH_MAX];
    /* Opened again: the descriptor that was bound to shows what the bind covers. */
    OWNED_FD fd = target_open(tree, bind->target, TARGET_FILE);
    if (fd < 0)
        return fd;
    if (tree->kernel.mount_setattr
        && syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | ALL_BELOW, &request, sizeof request) == 0)
        return 0;
    ssize_t length = readlink(place_of(fd).path, path, sizeof path - 1);
    if (length < 0)
        return -errno;
    path[length] = '\0';
    return mounts_set_read_only(path);
}

const char *target_hint(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
        return "it cannot be created: its directory in the container is not writable for this user";
    case ENOTDIR:
        return "something on the way to it in the container is not a directory";
    case ELOOP:
        return "a loop of symbolic links in the container";
    default:
        return NULL;
    }
}

/* Why a place cannot be bound to, or NULL. */
static const char *bind_refused(const struct stat *root, const struct stat *target, bool directory)
{
    if (target->st_dev == root->st_dev && target->st_ino == root->st_ino)
        return "is the container's root itself";
    if (S_ISDIR(target->st_mode) == directory)
        return NULL;
    return directory ? "is not a directory in the container" : "is a directory in the container";
}

/* Opens the place to bind to, which is of the source's kind; reports. */
static int bind_target(const struct tree *tree, const struct bind *bind)
{
    struct stat source, target, root;
    if (stat(bind->source, &source) < 0) {
        int error = errno;
        report_error(bind->source, error, error == ENOENT ? "create it before the run" : NULL);
        return -error;
    }
    enum target_kind kind = S_ISDIR(source.st_mode) ? TARGET_DIRECTORY : TARGET_FILE;
    int fd = target_open(tree, bind->target, kind);
    if (fd < 0) {
        report_error(bind->target, -fd, target_hint(-fd));
        return fd;
    }
    const char *cause = NULL;
    if (fstat(fd, &target) == 0 && fstat(tree->root, &root) == 0)
        cause = bind_refused(&root, &target, kind == TARGET_DIRECTORY);
    if (!cause)
        return fd;
    report_line(bind->target, cause, "bind a directory to a directory and a file to a file");
    close(fd);
    return -EINVAL;
}

/* Shows the host's source in the container.  Always recursively: what is mounted below the source is
 * locked to it (mount_namespaces(7)), and a bind that would uncover the place below is refused. */
int tree_bind(const struct tree *tree, const struct bind *bind)
{
    OWNED_FD fd = bind_target(tree, bind);
    if (fd < 0)
        return fd;
    if (mount(bind->source, place_of(fd).path, NULL, MS_BIND | MS_REC, NULL) < 0) {
        int error = errno;
        report_error(bind->source, error, "bind mount");
        return -error;
    }
    int result = bind->read_only ? bind_set_read_only(tree, bind) : 0;
    if (result < 0)
        report_error(bind->target, -result, "making the bind read-only");
    return result;
}

/* Makes the root a mount of its own, which pivot_root(2) asks for, and opens it. */
int tree_open(struct tree *tree)
{
    struct stat info;
    int result = 0;
    if (stat(tree->path, &info) == 0 && !S_ISDIR(info.st_mode))
        errno = ENOTDIR;
    else if (mount(tree->path, tree->path, NULL, MS_BIND | MS_REC, NULL) == 0)
        tree->root = open(tree->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = errno;
    if (tree->root >= 0 && tree->read_only)
        result = mount_set_read_only(tree->path);
    if (tree->root >= 0 && result == 0)
        return 0;
    if (result < 0)
        error = -result;
    report_error(tree->path, error, "the container's root directory");
    return -error;
}

/* Makes the current directory, a mount of its own, the root of this mount namespace.
 *
 * pivot_root(".", ".") lays the old root over the new one, at the same place, so no directory is
 * needed to put it in; umount2(".") then takes away what lies on top there, the old root, which is
 * detached at once with all its mounts, although busy: pivot_root(2), section NOTES.
 * An initial ramfs cannot be pivoted away; there the new root is moved over it instead.
 */
static int root_switch(const struct kernel *kernel)
{
    if (kernel->pivot_root && syscall(SYS_pivot_root, ".", ".") == 0)
        return umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ? -errno : 0;
    if (kernel->pivot_root && errno != EINVAL)
        return -errno;
    return mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0 ? -errno : 0;
}

/* Steps into the container, to `workdir`, which is created where it is missing, as docker does.  It is
 * opened beforehand, scoped to the root: /proc/self/fd/N as a workdir must not lead to the host. */
int tree_enter(const struct tree *tree, const char *workdir)
{
    OWNED_FD directory = target_open(tree, workdir, TARGET_DIRECTORY);
    if (directory < 0) {
        report_error(workdir, -directory, target_hint(-directory));
        return directory;
    }
    int result = fchdir(tree->root) < 0 ? -errno : root_switch(&tree->kernel);
    if (result < 0) {
        report_error(tree->path, -result, "switching to the container's root");
        return result;
    }
    if (fchdir(directory) < 0) {
        int error = errno;
        report_error(workdir, error, "the working directory");
        return -error;
    }
    return 0;
}
