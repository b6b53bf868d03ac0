/* The launcher of engine R; userns.c tells what it does and in which order.
 *
 * Functions return 0 (or a file descriptor) or -errno.  Those marked "reports" have written the user's
 * line already when they fail.
 */
#ifndef USERNS_H
#define USERNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

/* docker's own exit statuses: docker-run(1), section EXIT STATUS. */
enum { EXIT_LAUNCHER = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* Calls that older kernels lack; --without switches them off, so that tests reach what is done instead. */
struct kernel {
    bool openat2;       /* since 5.6 */
    bool mount_setattr; /* since 5.12 */
    bool pivot_root;    /* refused where / is the initial ramfs: pivot_root(2), section NOTES */
};

struct bind {
    const char *source; /* on the host */
    const char *target; /* in the container */
    bool read_only;
};

/* A file of the container, or of the host, that the program sees with text after it. */
struct extension {
    const char *source; /* on the host; empty: the container's own target */
    const char *target; /* in the container */
    const char *text;
};

/* The container's tree while it still lies in the host's: root is an O_PATH descriptor. */
struct tree {
    const char *path;
    int root;
    bool read_only; /* nothing in it can be changed, but for what is bound or mounted over it */
    struct kernel kernel;
};

enum target_kind { TARGET_DIRECTORY, TARGET_FILE };

/* A descriptor that is closed where its variable ends. */
#define OWNED_FD __attribute__((cleanup(fd_close))) int

static inline void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* report.c */
void report_act(const char *act); /* what the lines are about; "run" at first */
void report_keep(void);           /* lines go on to where they went; the program has standard output for errors too */
void report_line(const char *object, const char *cause, const char *hint);
void report_error(const char *object, int error, const char *hint);

/* namespace.c */
int namespace_enter(uid_t uid, gid_t gid);         /* reports */
int namespace_map(int self, uid_t uid, gid_t gid); /* reports; `self` is /proc/self */
int namespace_drop_capabilities(void);             /* reports */

/* join.c: `process` is "PID:START"; -ESRCH is not reported where it may be gone, and nothing has changed then */
int join_enter(const char *process, uid_t uid, gid_t gid, const char *workdir, bool may_be_gone); /* reports */

/* mount(2) takes paths only; this one leads to the very place that fd is, whatever its name. */
struct place {
    char path[32];
};

static inline struct place place_of(int fd)
{
    struct place place;
    snprintf(place.path, sizeof place.path, "/proc/self/fd/%d", fd);
    return place;
}

/* target.c */
int target_open(const struct tree *tree, const char *path, enum target_kind kind);

/* tree.c */
int tree_open(struct tree *tree);                                /* reports */
int tree_bind(const struct tree *tree, const struct bind *bind); /* reports */
int tree_enter(const struct tree *tree, const char *workdir);    /* reports */
const char *target_hint(int error);

/* scratch.c */
int scratch_volume(const struct tree *tree, const char *path); /* reports */
int scratch_mount(const struct tree *tree, const char *path);  /* reports */
int scratch_extend(const struct tree *tree, const struct extension *extensions, size_t count); /* reports */

#endif
