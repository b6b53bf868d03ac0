/* Places in the container's tree before its program starts: found as the program would find them, and made
 * where they are missing. */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "../path/world.h"
#include "begin.h"

void line_put(struct line *line, const char *text)
{
    size_t length = bytes_length(text);
    if (line->at + length >= sizeof line->text) {
        line->at = sizeof line->text;
        return;
    }
    bytes_copy(line->text + line->at, text, length + 1);
    line->at += length;
}

void line_put_number(struct line *line, unsigned long number, unsigned base)
{
    char digits[32];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do
        digits[--at] = "0123456789abcdef"[number % base];
    while (number /= base);
    line_put(line, digits + at);
}

/* A host path without links: what the kernel calls the directory or the file. */
void host_path(const char *text, char path[PATH_SIZE])
{
    struct line link = {.at = 0};
    struct path_place place;
    long file = engine_outer_path(text, &place);
    if (file == 0)
        file = sys_call4(SYS_openat, AT_FDCWD, place.host, O_PATH | O_CLOEXEC, 0);
    if (file < 0) {
        report_error_hint(text, (int)-file, file == -ENOENT ? "create it before the run" : NULL);
        process_stop(EXIT_LAUNCHER);
    }
    line_put(&link, "/proc/self/fd/");
    line_put_number(&link, (unsigned long)file, 10);
    long length = sys_call4(SYS_readlinkat, AT_FDCWD, link.text, path, PATH_SIZE - 1);
    sys_call1(SYS_close, file);
    if (length < 0)
        report_failure(text, length);
    path[length] = '\0';
    if (path[0] != '/')
        report_and_stop(text, "has no path on this host", "a pipe or a socket cannot be bound");
    if (length == 1)
        path[0] = '\0'; /* "/" */
}

bool is_directory(const char *host)
{
    struct stat info;
    return sys_call2(SYS_stat, *host ? host : "/", &info) == 0 && S_ISDIR(info.st_mode);
}

static const char *target_hint(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
        return "it cannot be created: its directory in the container is not writable for this user";
    case ENOTDIR:
        return "something on the way to it in the container is not a directory";
    case ELOOP:
        return "a loop of symbolic links in the container";
    default:
        return NULL;
    }
}

void target_refuse(const char *guest, long error)
{
    report_error_hint(guest, (int)-error, target_hint((int)-error));
    process_stop(EXIT_LAUNCHER);
}

/* Makes what is missing of a host path, the directories on the way first. */
static long place_make(struct path_place *place, bool directory)
{
    for (size_t end = 1; end <= place->length; end++) {
        char *rest = place->host + end;
        char first = *rest;
        if (first != '/' && first != '\0')
            continue;
        *rest = '\0';
        long result = sys_call3(SYS_faccessat, AT_FDCWD, place->host, 0);
        if (result == -ENOENT && place->read_only)
            result = -EROFS;
        else if (result == -ENOENT && (first || directory))
            result = sys_call3(SYS_mkdirat, AT_FDCWD, place->host, 0755);
        else if (result == -ENOENT) {
            result = sys_call4(SYS_openat, AT_FDCWD, place->host, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
            if (result >= 0)
                result = sys_call1(SYS_close, result);
        }
        *rest = first;
        /* Another run may have been quicker. */
        if (result < 0 && result != -EEXIST)
            return result;
    }
    return 0;
}

long target_try(const char *guest, bool directory, struct target *target)
{
    struct path_place *place = &target->place;
    int result = path_name(&engine.world, AT_FDCWD, guest, PATH_FOLLOW | PATH_MISSING, place, target->guest);
    if (result < 0) {
        target->guest[0] = '\0';
        return result;
    }
    while (place->length > 1 && place->host[place->length - 1] == '/')
        place->host[--place->length] = '\0';
    return place_make(place, directory);
}

void target_make(const char *guest, bool directory, struct target *target)
{
    long result = target_try(guest, directory, target);
    if (result < 0)
        target_refuse(guest, result);
}

static bool is_denied(long error)
{
    return error == -EACCES || error == -EPERM || error == -EROFS;
}

/* Whether a place is of the container itself, or of a directory that stands for one that it lacks. */
static bool is_containers(const char *guest, size_t length)
{
    const struct path_view *view = world_view(&engine.world, guest, length);
    return view == &engine.world.views[0] || engine.unlisted[view - engine.world.views];
}

/* An empty directory of the host to stand for one that the container lacks: each has its own, so that they can
 * be told apart, and they stay for the next run. */
static void directory_stand_in(const char *guest)
{
    struct line path = {.at = 0};
    own_directory(path.text);
    path.at = bytes_length(path.text);
    line_put(&path, "/empty");
    sys_call3(SYS_mkdirat, AT_FDCWD, path.text, 0700);
    line_put(&path, "/");
    line_put_number(&path, engine.world.count, 10);
    long result = sys_call3(SYS_mkdirat, AT_FDCWD, path.text, 0555);
    if (result < 0 && result != -EEXIST)
        report_failure(path.text, result);
    if ((result = engine_add_view(guest, path.text, true)) < 0)
        target_refuse(guest, result);
    listing_hide(guest);
}

/* Lets the directories on the way to a place appear, where the container lacks them and cannot be written. */
static void way_offer(const char *guest)
{
    char part[PATH_SIZE];
    struct path_place place;
    for (size_t end = 1; guest[end]; end++) {
        if (guest[end] != '/')
            continue;
        bytes_copy(part, guest, end);
        part[end] = '\0';
        if (world_map(&engine.world, part, end, &place) == 0 &&
            sys_call3(SYS_faccessat, AT_FDCWD, place.host, 0) == -ENOENT)
            directory_stand_in(part);
    }
}

void target_offer(const char *guest, bool directory, struct target *target)
{
    long result = target_try(guest, directory, target);
    target->is_unlisted = is_denied(result) && target->guest[0] == '/' &&
                          is_containers(target->guest, bytes_length(target->guest));
    if (target->is_unlisted)
        way_offer(target->guest);
    else if (result < 0)
        target_refuse(guest, result);
}

void target_show(const struct target *target, const char *host, bool read_only)
{
    int result = engine_add_view(target->guest, host, read_only);
    if (result == -ENOSPC)
        report_and_stop("--volume", "more binds, or longer paths of theirs, than this execution mode has room for",
                        "bind a directory in place of many files, or run with --execmode=R1");
    if (result < 0)
        target_refuse(target->guest, result);
    if (target->is_unlisted)
        listing_hide(target->guest);
}

/* Why a place cannot be bound to, or NULL. */
static const char *bind_refused(const struct target *target, bool directory)
{
    if (target->guest[0] == '\0')
        return "is the container's root itself";
    if (target->is_unlisted)
        return NULL;
    if (is_directory(target->place.host) == directory)
        return NULL;
    return directory ? "is not a directory in the container" : "is a directory in the container";
}

void bind_add(const char *source, const char *guest, bool read_only)
{
    char host[PATH_SIZE];
    struct target target;
    host_path(source, host);
    bool directory = is_directory(host);
    target_offer(guest, directory, &target);
    const char *cause = bind_refused(&target, directory);
    if (cause)
        report_and_stop(guest, cause, "bind a directory to a directory and a file to a file");
    target_show(&target, host, read_only);
}
