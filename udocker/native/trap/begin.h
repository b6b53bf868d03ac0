/* Shared by the files that work before the container's program starts: the launcher's part of the engine.
 * There a failure is told in one line, and ends the process. */
#ifndef TRAP_BEGIN_H
#define TRAP_BEGIN_H

#include "trap.h"

#pragma GCC visibility push(hidden)

struct options {
    const char *root;
    const char *workdir;
    const char *files; /* where extended files are kept; NULL: in a directory of the caller in /tmp */
    bool probe;
    uint32_t uid, gid; /* who the program is to be */
};

/* A place of the container, as a path of it without links, and where it lies on the host. */
struct target {
    char guest[PATH_SIZE];
    struct path_place place;
    bool is_unlisted;
};

/* target.c */
void host_path(const char *text, char path[PATH_SIZE]);
bool is_directory(const char *host);
void target_make(const char *guest, bool directory, struct target *target);
/* The same for a place that something is shown at.  Where the container cannot be written it need not be there,
 * and is then not in its directory's listing by itself. */
void target_offer(const char *guest, bool directory, struct target *target);
void target_show(const struct target *target, const char *host, bool read_only);
long target_try(const char *guest, bool directory, struct target *target); /* the same; -errno */
_Noreturn void target_refuse(const char *guest, long error);
void bind_add(const char *source, const char *target, bool read_only);

/* extend.c */
void extend_add(const char *directory, const char *source, const char *target, const char *text);

/* scratch.c */
void scratch_add(const char *guest);
void scratch_volume(const char *guest);
void own_directory(char path[PATH_SIZE]); /* /tmp/udocker-UID, made where it is missing */

/* program.c */
long program_start(const char *file, char **command, char *const *environment);
long program_search(char **command, char *const *environment, const char *path); /* the same for a name */
int program_refused(const char *program, bool by_path, long error);              /* tells why; the exit status */

/* probe.c */
int probe_calls(void); /* 0, or the reason is told and the process ends */

/* kernel.c */
int kernel_pretend(const char *release);

/* Text put together; too much of it is cut off, and then `at` is PATH_SIZE. */
struct line {
    char text[PATH_SIZE];
    size_t at;
};
void line_put(struct line *line, const char *text);
void line_put_number(struct line *line, unsigned long number, unsigned base);

#pragma GCC visibility pop

#endif
