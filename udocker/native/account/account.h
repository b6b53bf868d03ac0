/* udocker-account: what its parts share. */

#pragma once

#include <stdbool.h>
#include <time.h>

/* Totals of proc(5)'s /proc/PID/io, in its order; they hold those of every process that was waited for. */
enum { READ, WRITTEN, STORAGE_READ, STORAGE_WRITTEN, COUNTED };
enum { IO_LINES = 7 };

struct moment {
    struct timespec clock;
    bool knows_io; /* not on a kernel without CONFIG_TASK_IO_ACCOUNTING */
    unsigned long long io[IO_LINES];
};

/* What a program and its descendants have used since it began: seconds, and KiB of the largest process. */
struct used {
    struct moment begun;
    double user, system;
    long largest;
    int status;
};

struct moment moment_now(void);

/* Write what the file `record` holds and what was used to `temporary`, and name that `path`; 0 or -errno. */
int record_write(int record, const struct used *used, const char *temporary, const char *path);
