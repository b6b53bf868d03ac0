/* Paths of a container, translated to paths of its host and back.
 *
 * A world is what the container's programs see: the root, and other directories and files of the host bound
 * over places in it.  Nothing here knows how a call was intercepted, so that every engine which
 * intercepts calls shares it.  No C library, no allocation, no state but the caller's; every function may
 * run in a signal handler and in many threads at once.
 *
 * "Guest" paths are the container's, "host" paths the host's.  Paths are bytes; none is longer than
 * PATH_SIZE with its final NUL (path_resolution(7)).  Functions return 0 or a count, or -errno.
 */
#ifndef PATH_H
#define PATH_H

#include <stdbool.h>
#include <stddef.h>

enum { PATH_SIZE = 4096, PATH_LINKS = 40, PATH_VIEWS = 256 };

/* One directory or file of the host, and where the container sees it.  Both are absolute, without links,
 * "." and "..", and without a slash at the end; "" is "/". */
struct path_view {
    const char *guest;
    size_t guest_length;
    const char *host;
    size_t host_length;
    size_t firm_length; /* of the host path, what no program of the container can exchange for a link */
    bool read_only;
};

/* views[0] is the root, seen at "".  The order of the others does not matter: the longest guest path wins,
 * and on the way back the longest host path.  `exe` is the program that the kernel should believe it runs:
 * what /proc/self/exe shows and opens, which is the engine otherwise; empty where the kernel is right. */
struct path_world {
    size_t count;
    const char *exe_host;
    const char *exe_guest;
    struct path_view views[PATH_VIEWS];
};

enum path_flags {
    PATH_FOLLOW = 1,  /* a symbolic link at the end is followed */
    PATH_MISSING = 2, /* what is missing on the way is taken for a directory */
    PATH_NAME = 4,    /* the last name itself is made or removed: no link is followed, even before a slash */
    PATH_DEEP = 8,    /* a place may be found whose name is too long: see `file` below */
    PATH_NO_LINKS = 256, /* openat2(2): -ELOOP where a link is to be followed, */
    PATH_NO_MAGIC = 512, /* or one of /proc that leads to an object */
};

/* Where a guest path leads.  `host` ends with a slash where the guest path did, and with "." or ".." where the last
 * name was that, and is to be made or removed: the kernel then only tells what is wrong with it. */
struct path_place {
    char host[PATH_SIZE];
    size_t length;
    bool read_only;  /* below a view that is so */
    bool is_view;    /* the very place of a view, which the kernel would call busy: mount(2) */
    bool is_exe;     /* /proc/self/exe itself, not followed: its text is exe_guest */
    bool is_object;  /* a link of /proc, followed by the kernel to an object that the container may have */
    long file;       /* of a directory whose name is too long, which `host` begins with, as a link of /proc; what */
                     /* follows from `start` on is one name in it.  To be closed by path_end; negative for none */
    size_t start;
};

/* Adds a view; a later one at the same guest path replaces the earlier.  Texts stay the caller's.
 * -ENAMETOOLONG, -ENOSPC, and -EINVAL for what is not of the form above. */
int path_world_add(struct path_world *world, const char *guest, const char *host, bool read_only);

/* Translates `guest`, relative to the directory `dirfd` (or AT_FDCWD).  Links and ".." are resolved inside
 * the world, whose root nothing is above.  Fails as the kernel does: -ENOENT, -ENOTDIR, -ELOOP, -EACCES,
 * -ENAMETOOLONG, -EBADF.  With PATH_DEEP path_end is to be called when the place is no longer needed. */
int path_resolve(const struct path_world *world, int dirfd, const char *guest, unsigned flags,
                 struct path_place *place);

void path_end(struct path_place *place);

/* The same, and the guest path without links that it came to; "" for the root. */
int path_name(const struct path_world *world, int dirfd, const char *guest, unsigned flags,
              struct path_place *place, char name[PATH_SIZE]);

/* Whether `guest` is the same to the kernel as to the container, as far as names tell: relative, without
 * "..", through no view.  Symbolic links in it are another matter. */
bool path_is_plain(const struct path_world *world, const char *guest);

/* The host path that `guest`, absolute and without "..", has if there is no link in it: to be used with
 * openat2(2), RESOLVE_NO_SYMLINKS.  False where it has none, or is too long. */
bool path_guess(const struct path_world *world, const char *guest, struct path_place *place);

/* Translates an absolute host path back; the length of `guest`, or -ENOENT where the container does not see
 * it, or -ENAMETOOLONG. */
int path_to_guest(const struct path_world *world, const char *host, char guest[PATH_SIZE]);

/* The directory's guest path, by its descriptor or AT_FDCWD; its length, or -errno. */
int path_of_directory(const struct path_world *world, int dirfd, char guest[PATH_SIZE]);

/* The same of the nearest directory, it or one above it, that has a path which is not too long.  -ENOENT where it lies
 * outside of the world. */
int path_above(const struct path_world *world, int dirfd, char guest[PATH_SIZE]);

#endif
