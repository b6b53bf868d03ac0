/* What was used, as JSON. */

#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The lines of /proc/PID/io that are told, and what the record calls them. */
static const struct {
    int line;
    const char *name;
} told[COUNTED] = {
    [READ] = {0, "read_bytes"},
    [WRITTEN] = {1, "written_bytes"},
    [STORAGE_READ] = {4, "storage_read_bytes"},
    [STORAGE_WRITTEN] = {5, "storage_written_bytes"},
};

struct moment moment_now(void)
{
    struct moment now = {.knows_io = false};
    clock_gettime(CLOCK_MONOTONIC, &now.clock);
    char text[1024];
    int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return now;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    int line = 0;
    for (char *next = text; line < IO_LINES && (next = strchr(next, ':')); line++)
        if (sscanf(++next, "%llu", &now.io[line]) != 1)
            return now;
    now.knows_io = line == IO_LINES;
    return now;
}

static double seconds_since(const struct moment *begun, const struct moment *now)
{
    double seconds = (double)(now->clock.tv_sec - begun->clock.tv_sec);
    return seconds + (double)(now->clock.tv_nsec - begun->clock.tv_nsec) / 1e9;
}

static int exit_status(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static size_t fields_print(char *text, size_t room, const struct used *used)
{
    struct moment now = moment_now();
    struct timespec epoch;
    clock_gettime(CLOCK_REALTIME, &epoch);
    double ended = (double)epoch.tv_sec + (double)epoch.tv_nsec / 1e9;
    int length = snprintf(text, room,
                          ", \"ended\": %.6f, \"exit_status\": %d, \"wall_seconds\": %.6f, \"user_seconds\": %.6f"
                          ", \"system_seconds\": %.6f, \"peak_memory\": %lld",
                          ended, exit_status(used->status), seconds_since(&used->begun, &now), used->user,
                          used->system, (long long)used->largest * 1024);
    for (int i = 0; i < COUNTED && now.knows_io && used->begun.knows_io; i++)
        length += snprintf(text + length, room - (size_t)length, ", \"%s\": %llu", told[i].name,
                           now.io[told[i].line] - used->begun.io[told[i].line]);
    length += snprintf(text + length, room - (size_t)length, ", \"state\": \"ended\"}\n");
    return (size_t)length;
}

static int bytes_write(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno != EINTR)
            return -errno;
        bytes += written > 0 ? written : 0;
        length -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

static int begun_copy(int record, int to)
{
    char bytes[4096];
    off_t offset = 0;
    for (ssize_t got; (got = pread(record, bytes, sizeof bytes, offset)) != 0; offset += got) {
        if (got < 0)
            return -errno;
        int error = bytes_write(to, bytes, (size_t)got);
        if (error)
            return error;
    }
    return 0;
}

int record_write(int record, const struct used *used, const char *temporary, const char *path)
{
    char fields[1024];
    size_t length = fields_print(fields, sizeof fields, used);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int error = begun_copy(record, fd);
    if (!error)
        error = bytes_write(fd, fields, length);
    if (!error && fsync(fd) != 0)
        error = -errno;
    if (close(fd) != 0 && !error)
        error = -errno;
    if (!error && rename(temporary, path) != 0)
        error = -errno;
    if (error)
        unlink(temporary);
    return error;
}
