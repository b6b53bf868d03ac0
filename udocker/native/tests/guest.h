/* What the programs share that ask, inside a container, what a program may expect: run as "PROGRAM NAME"; status 0,
 * or a line that tells what was wrong. */
#ifndef GUEST_H
#define GUEST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                    \
    do {                                                                     \
        if (!(condition)) {                                                  \
            printf("%s:%d: %s (errno %d)\n", __func__, __LINE__, #condition, errno); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

struct check {
    const char *name;
    void (*run)(void);
};

/* Runs the check that the program's argument names. */
static inline int guest_main(int argc, char **argv, const struct check *checks, size_t count)
{
    for (size_t i = 0; argc == 2 && i < count; i++)
        if (strcmp(checks[i].name, argv[1]) == 0) {
            checks[i].run();
            return 0;
        }
    printf("no such check\n");
    return 2;
}

#endif
