/* Places in the container's tree, found as the container would find them.
 *
 * The tree comes from an image and is not to be trusted: its symbolic links are resolved with the
 * container's root as "/", so that /data -> /etc is the container's /etc and never the host's.
 */

#include "userns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef SYS_openat2
#define SYS_openat2 437 /* the same on every architecture */
#endif

/* openat2(2); declared here because older systems' headers lack it. */
struct open_request {
    uint64_t flags, mode, resolve;
};
enum { IN_ROOT = 0x10 }; /* RESOLVE_IN_ROOT */

/* As many as the kernel follows: path_resolution(7). */
enum { LINKS_MAX = 40 };

struct walk {
    int root;
    int at;               /* where the walk is; owned */
    int links;            /* followed so far */
    char done[PATH_MAX];  /* the way from root to at, without any link */
    char rest[PATH_MAX];  /* what is still to be walked */
    enum target_kind kind;
};

static void walk_end(struct walk *walk)
{
    fd_close(&walk->at);
}

static int walk_move(struct walk *walk, int fd)
{
    if (fd < 0)
        return -errno;
    fd_close(&walk->at);
    walk->at = fd;
    return 0;
}

/* Goes back to the root, and from there down `done` again, whose components are no links. */
static int walk_restart(struct walk *walk)
{
    char way[PATH_MAX], *next = way;
    strcpy(way, walk->done);
    int result = walk_move(walk, fcntl(walk->root, F_DUPFD_CLOEXEC, 0));
    for (char *name; result == 0 && (name = strsep(&next, "/"));)
        if (*name)
            result = walk_move(walk, openat(walk->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    return result;
}

/* "..": never asked of the kernel, which could go above the root when somebody moves a directory. */
static int walk_up(struct walk *walk)
{
    char *slash = strrchr(walk->done, '/');
    struct stat info;
    if (fstat(walk->at, &info) < 0)
        return -errno;
    if (!S_ISDIR(info.st_mode))
        return -ENOTDIR;
    if (slash)
        *slash = '\0';
    return walk_restart(walk);
}

static int walk_down(struct walk *walk, const char *name, int fd)
{
    size_t length = strlen(walk->done);
    if (length + strlen(name) + 2 > sizeof walk->done)
        return -ENAMETOOLONG;
    walk->done[length] = '/';
    strcpy(walk->done + length + 1, name);
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return walk_move(walk, fd);
}

/* Puts the link's text before the rest of the way. */
static int walk_follow(struct walk *walk, int link)
{
    char text[PATH_MAX], rest[PATH_MAX];
    ssize_t length = readlinkat(link, "", text, sizeof text - 1);
    if (length < 0)
        return -errno;
    text[length] = '\0';
    if (++walk->links > LINKS_MAX)
        return -ELOOP;
    if ((size_t)length + 1 + strlen(walk->rest) + 1 > sizeof walk->rest)
        return -ENAMETOOLONG;
    strcpy(rest, walk->rest);
    strcpy(walk->rest, text);
    strcat(walk->rest, "/");
    strcat(walk->rest, rest);
    if (text[0] != '/')
        return 0;
    walk->done[0] = '\0';
    return walk_restart(walk);
}

static int walk_create(struct walk *walk, const char *name)
{
    bool last = walk->rest[strspn(walk->rest, "/")] == '\0';
    if (!last || walk->kind == TARGET_DIRECTORY)
        return mkdirat(walk->at, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
    OWNED_FD fd = openat(walk->at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd < 0 && errno != EEXIST ? -errno : 0;
}

static int walk_step(struct walk *walk, const char *name)
{
    const int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    struct stat info;
    OWNED_FD fd = openat(walk->at, name, flags);
    if (fd < 0 && errno == ENOENT) {
        int result = walk_create(walk, name);
        if (result < 0)
            return result;
        fd = openat(walk->at, name, flags);
    }
    if (fd < 0 || fstat(fd, &info) < 0)
        return -errno;
    return S_ISLNK(info.st_mode) ? walk_follow(walk, fd) : walk_down(walk, name, fd);
}

/* Walks to `path` without the kernel following any link; what is missing is created. */
static int target_walk(int root, const char *path, enum target_kind kind)
{
    __attribute__((cleanup(walk_end))) struct walk walk = {.root = root, .at = -1, .kind = kind};
    char name[NAME_MAX + 1];
    if (strlen(path) >= sizeof walk.rest)
        return -ENAMETOOLONG;
    strcpy(walk.rest, path);
    int result = walk_restart(&walk);
    while (result == 0) {
        char *start = walk.rest + strspn(walk.rest, "/");
        size_t length = strcspn(start, "/");
        if (length == 0)
            return fcntl(walk.at, F_DUPFD_CLOEXEC, 0);
        if (length > NAME_MAX)
            return -ENAMETOOLONG;
        memcpy(name, start, length);
        name[length] = '\0';
        memmove(walk.rest, start + length, strlen(start + length) + 1);
        if (strcmp(name, "..") == 0)
            result = walk_up(&walk);
        else if (strcmp(name, ".") != 0)
            result = walk_step(&walk, name);
    }
    return result;
}

/* Opens (O_PATH) what the container calls `path`; creates missing directories on the way and, at its
 * end, a directory or an empty file.  The kernel resolves what is there already in one call, from 5.6 on.
 */
int target_open(const struct tree *tree, const char *path, enum target_kind kind)
{
    struct open_request request = {.flags = O_PATH | O_CLOEXEC, .resolve = IN_ROOT};
    if (tree->kernel.openat2) {
        long fd = syscall(SYS_openat2, tree->root, path, &request, sizeof request);
        if (fd >= 0)
            return (int)fd;
    }
    return target_walk(tree->root, path, kind);
}
