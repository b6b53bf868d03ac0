/* A program that tries to reach what its container must not: "escape KIND NAME OUTSIDE PID [MORE]".
 *
 * OUTSIDE is a directory of the host, with "secret", "spare", "program", "link", "directory" and "socket" in it;
 * PID a process of the host and the same user, which has it as its directory and open (victim.c).  The
 * test judges from outside; what is printed here says which way led there.
 */
#ifndef ESCAPE_H
#define ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/un.h>

enum { LONGEST = 4096, VICTIM_DIRECTORY = 7, VICTIM_FILE = 8 };

#define WORK "/tmp/w" /* a directory of the program's own, where it also starts */

struct scene {
    const char *outside;
    long victim;
    const char *more;
};

/* One way to the outside directory: a path, from a directory. */
struct way {
    const char *from;
    char path[2 * LONGEST];
};

/* One call, tried with OUTSIDE as `way`; whether it reached anything there. */
struct act {
    const char *name;
    bool (*attempt)(const char *way);
};

/* One attack of its own kind. */
struct trick {
    const char *name;
    void (*attempt)(const struct scene *scene);
};

extern const struct act sights[], acts[], spaces[]; /* a NULL name ends each */
extern const struct trick tricks[], races[], changes[]; /* tricks.c, race.c, readonly.c */

size_t ways_count(void);
/* The way of this number; false where it cannot be built here. */
bool way_make(const struct scene *scene, size_t number, struct way *way);

/* A path below a way: one of a few static buffers, each used again later. */
const char *below(const char *way, const char *name);
/* Prints what a file holds, or a directory; whether it could be opened. */
bool show(const char *path);
bool show_at(int directory, const char *path);
/* Closes a descriptor, or -1: whether there was one. */
bool closed(int file);
/* The address of a socket with this path; false where it is too long. */
bool address_of(struct sockaddr_un *address, const char *path);
/* A file of the program's own, made anew. */
const char *own_file(const char *path);
void remove_tree(const char *path); /* one file, link or empty directory */

int victim(const struct scene *scene);

#endif
