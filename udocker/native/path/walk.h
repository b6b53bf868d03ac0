/* The state of a walk: resolve.c, and deep.c where names are too long. */
#ifndef PATH_WALK_H
#define PATH_WALK_H

#include <linux/limits.h>

#include "path.h"

struct walk {
    const struct path_world *world;
    struct path_place *place;
    char here[PATH_SIZE]; /* walked, without links; "" is the root */
    size_t length;
    char rest[2 * PATH_SIZE]; /* to be walked */
    size_t at;
    int links;
    unsigned flags;
    bool slash;       /* the last component is followed by one */
    bool is_object;   /* it is a link of /proc, which the kernel is to follow */
    bool read_only;   /* to what lies in a view that is so; or the directory below does */
    const char *dots; /* the last component, where it is "." or ".." and to be made or removed; else NULL */
    long file;        /* the directory that was walked to, where `here` does not name it; else negative */
    char name[NAME_MAX + 1]; /* the last component in that; "" for the directory itself */
};

/* Puts a link's text before the rest of the way; `parent` is the length of the link's directory. */
int walk_splice(struct walk *walk, const char *text, size_t size, size_t parent);

/* The host path of what was walked to, of which no part is a link by now. */
int walk_map(struct walk *walk);
int walk_check(const struct walk *walk);

/* deep.c: begins at a directory of whose name the kernel says that it is too long. */
int deep_start(struct walk *walk, int dirfd);
/* Goes on by a descriptor, where the next name would make the path too long. */
int deep_enter(struct walk *walk);
/* The same at the directory that a link of /proc at the place leads to. */
int deep_jump(struct walk *walk);
int deep_up(struct walk *walk);
/* A component that is neither "." nor ".."; 1 where it is the last. */
int deep_down(struct walk *walk, const char *name, size_t size, bool last, bool follows);
void deep_finish(struct walk *walk);
void deep_leave(struct walk *walk);

#endif
