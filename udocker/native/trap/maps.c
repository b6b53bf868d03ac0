/* What /proc tells of a process's memory (proc(5)), read for the container: the files' names are the host's there, and
 * the program of another process that an engine has loaded is known from nothing else.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>

#include "trap.h"

enum { BLOCK = 4096, PROC_MAGIC = 0x9fa0 /* PROC_SUPER_MAGIC */, START_CODE = 26 /* field of /proc/PID/stat */ };

struct lines {
    long file;
    char block[BLOCK];
    size_t at, end;
    char text[PATH_SIZE + 256];
    size_t length;
};

static void lines_start(struct lines *lines, long file)
{
    lines->file = file;
    lines->at = lines->end = 0;
}

/* The next line without its end; false after the last.  What is too long is cut. */
static bool line_next(struct lines *lines)
{
    bool any = false;
    lines->length = 0;
    for (;;) {
        if (lines->at == lines->end) {
            long size = sys_call3(SYS_read, lines->file, lines->block, BLOCK);
            if (size <= 0)
                break;
            lines->at = 0;
            lines->end = (size_t)size;
        }
        char byte = lines->block[lines->at++];
        any = true;
        if (byte == '\n')
            break;
        if (lines->length + 1 < sizeof lines->text)
            lines->text[lines->length++] = byte;
    }
    lines->text[lines->length] = '\0';
    return any;
}

static const char *read_hex(const char *at, uintptr_t *value)
{
    for (*value = 0;; at++) {
        if (*at >= '0' && *at <= '9')
            *value = *value * 16 + (uintptr_t)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            *value = *value * 16 + (uintptr_t)(*at - 'a' + 10);
        else
            return at;
    }
}

/* The file of a mapping, an absolute path at the end of its line; NULL for none. */
static char *line_path(char *text)
{
    uintptr_t start, end;
    const char *at = read_hex(text, &start);
    if (at == text || *at != '-')
        return NULL;
    const char *behind = read_hex(at + 1, &end);
    if (behind == at + 1 || *behind != ' ')
        return NULL;
    for (char *slash = text; *slash; slash++)
        if (*slash == '/' && slash > text && slash[-1] == ' ')
            return slash;
    return NULL;
}

static bool is_engine(const char *path)
{
    size_t length = bytes_length(engine.self);
    return bytes_equal(path, engine.self, length) && (path[length] == '\0' || path[length] == ' ');
}

/* ---- the program of a process ---- */

static long open_beside(int dirfd, const char *link, const char *name)
{
    char path[PATH_SIZE];
    size_t length = bytes_length(link), size = bytes_length(name) + 1;
    if (length < 3 || length - 3 + size > sizeof path)
        return -ENAMETOOLONG;
    bytes_copy(path, link, length - 3);
    bytes_copy(path + length - 3, name, size);
    return sys_call4(SYS_openat, dirfd, path, O_RDONLY | O_CLOEXEC, 0);
}

/* Where the kernel believes that the program's code is; 0 where it does not tell. */
static uintptr_t code_start(int dirfd, const char *link)
{
    char text[1024];
    long file = open_beside(dirfd, link, "stat");
    if (file < 0)
        return 0;
    long length = sys_call3(SYS_read, file, text, sizeof text - 1);
    sys_call1(SYS_close, file);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    /* The name in parentheses may hold anything; the last one closes it.  Field 3 is behind it. */
    const char *at = text + length;
    while (at > text && *at != ')')
        at--;
    uintptr_t value = 0;
    for (int field = 2; field <= START_CODE && *at; field++) {
        for (value = 0, at += *at == ' '; *at && *at != ' '; at++)
            value = value * 10 + (uintptr_t)(*at - '0');
    }
    return value;
}

/* The guest's path of the program that a process runs, where `text`, what its link /proc/PID/exe says, is the engine;
 * its length, or -ENOENT.  The link is given as readlinkat takes it. */
int maps_program(int dirfd, const char *link, const char *text, char guest[PATH_SIZE])
{
    size_t length = bytes_length(link);
    struct lines lines;
    int result = -ENOENT;
    if (!is_engine(text) || length < 3 || !bytes_equal(link + length - 3, "exe", 3))
        return -ENOENT;
    uintptr_t code = code_start(dirfd, link), start, end;
    long file = open_beside(dirfd, link, "maps");
    if (file < 0)
        return (int)file;
    lines_start(&lines, file);
    while (line_next(&lines)) {
        const char *path = line_path(lines.text);
        if (!path || is_engine(path))
            continue;
        read_hex(read_hex(lines.text, &start) + 1, &end);
        bool is_code = start <= code && code < end;
        /* Without an answer of the kernel's the first file it is, for programs lie below their libraries. */
        if (is_code || result < 0)
            result = path_to_guest(&engine.world, path, guest);
        if (is_code)
            break;
    }
    sys_call1(SYS_close, file);
    return result;
}

/* ---- maps, smaps, numa_maps ---- */

bool maps_is_name(const char *path, size_t length)
{
    return length >= 4 && bytes_equal(path + length - 4, "maps", 4);
}

static bool write_whole(long file, const char *text, size_t size)
{
    while (size > 0) {
        long done = sys_call3(SYS_write, file, text, size);
        if (done <= 0)
            return false;
        text += done;
        size -= (size_t)done;
    }
    return true;
}

static bool line_write(long target, struct lines *lines)
{
    static const char ours[] = "[udocker-trap]";
    char guest[PATH_SIZE];
    char *path = line_path(lines->text);
    const char *name = path;
    if (path && is_engine(path))
        name = ours;
    else if (path && path_to_guest(&engine.world, path, guest) > 0)
        name = guest;
    size_t before = path ? (size_t)(path - lines->text) : lines->length;
    return write_whole(target, lines->text, before) && (!path || write_whole(target, name, bytes_length(name))) &&
           write_whole(target, "\n", 1);
}

/* Puts a file with the container's names in place of an open one of /proc; the same descriptor, whatever comes. */
long maps_translate(long file, bool closes_on_exec)
{
    struct statfs system;
    struct lines lines;
    if (file < 0 || sys_call2(SYS_fstatfs, file, &system) < 0 || system.f_type != PROC_MAGIC)
        return file;
    long target = sys_call2(SYS_memfd_create, "maps", 1 /* MFD_CLOEXEC */);
    if (target < 0)
        return file;
    lines_start(&lines, file);
    while (line_next(&lines))
        if (!line_write(target, &lines))
            break;
    sys_call3(SYS_lseek, target, 0, 0 /* SEEK_SET */);
    sys_call3(SYS_dup3, target, file, closes_on_exec ? O_CLOEXEC : 0);
    sys_call1(SYS_close, target);
    return file;
}
