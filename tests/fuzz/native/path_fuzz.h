/* Shared by path_fuzz.c and path_kernel.c. */
#ifndef PATH_FUZZ_H
#define PATH_FUZZ_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "../../../udocker/native/path/path.h"

enum { AREAS = 5, BINDS = 4, QUERIES = 24, OPEN_FILES = 2, FIRST_FILE = 60 };

/* Where the tmpfs is: every system has it, and nobody here needs what it may hold. */
#define PLACE "/mnt"

/* The directories of an input: the root, and those that may be bound. */
static const char *const areas[AREAS] = {"root", "h1", "h2", "h3", "h4"};

enum kind { FOLLOW, KEEP, MAKE };

struct answer {
    int error;
    bool is_proc; /* which process's is another matter */
    dev_t device;
    ino_t inode;
};

struct query {
    enum kind kind;
    int directory; /* AT_FDCWD, or one of the open files */
    char path[PATH_SIZE + 64];
    struct answer answer;
};

struct bind {
    char guest[256], host[256];
    bool made;
};

/* Shared with the helper. */
struct scene {
    char top[64]; /* a directory for each input */
    struct bind binds[BINDS];
    char files[OPEN_FILES][256], cwd[256];
    int opened[OPEN_FILES], entered; /* 0, or the error */
    struct query queries[QUERIES];
    size_t bind_count, query_count;
};

extern struct scene *scene;

/* Makes the namespaces and the helper. */
void kernel_start(void);
/* Lets the helper answer what is in `scene`. */
void kernel_answer(void);
struct answer look_up(const struct query *query, int directory, const char *path);

/* Ends the process where nothing can be tried. */
void check(long result, const char *what);
/* Opens a directory by a path of names, through no link; makes what is missing if so wanted. */
int descend(int directory, const char *path, bool makes);
/* The directory of such a path, and its last name. */
int descend_to(int directory, const char *path, bool makes, const char **name);

#endif
