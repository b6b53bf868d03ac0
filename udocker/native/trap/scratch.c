/* Directories that a run has for itself.
 *
 * They lie on the node, in /tmp/udocker-UID, in a directory named after the process that they belong to.  A run
 * cannot clean up after itself, since its launcher becomes the program, and nothing could after kill -9: so each
 * run that makes such a directory first removes those whose process has ended.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "begin.h"

enum { DEPTH_MAX = 64, BLOCK = 4096 };

/* getdents64(2) */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

void own_directory(char path[PATH_SIZE])
{
    struct line line = {.at = 0};
    struct stat info;
    unsigned long uid = (unsigned long)sys_call0(SYS_geteuid);
    line_put(&line, "/tmp/udocker-");
    line_put_number(&line, uid, 10);
    bytes_copy(path, line.text, line.at + 1);
    long result = sys_call3(SYS_mkdirat, AT_FDCWD, path, 0700);
    if (result == 0 || result == -EEXIST)
        result = sys_call2(SYS_lstat, path, &info);
    if (result < 0)
        report_failure(path, result);
    /* /tmp is everybody's: whoever made it first must have been the caller. */
    if (!S_ISDIR(info.st_mode) || info.st_uid != uid || (info.st_mode & 022))
        report_and_stop(path, "is not a directory of this user alone", "whoever made it has to remove it");
}

/* ---- whose they are ---- */

/* The namespace that process numbers are of, as a number. */
static unsigned long namespace_number(void)
{
    char text[64];
    unsigned long number = 0;
    long length = sys_call4(SYS_readlinkat, AT_FDCWD, "/proc/self/ns/pid", text, sizeof text);
    for (long i = 0; i < length; i++)
        if (text[i] >= '0' && text[i] <= '9')
            number = number * 10 + (unsigned long)(text[i] - '0');
    return number;
}

/* When a process began, in clock ticks since the machine did; 0 for none.  proc(5), /proc/[pid]/stat, field 22. */
static unsigned long process_start(unsigned long process)
{
    char text[1024];
    struct line path = {.at = 0};
    unsigned long number = 0;
    line_put(&path, "/proc/");
    line_put_number(&path, process, 10);
    line_put(&path, "/stat");
    long file = sys_call4(SYS_openat, AT_FDCWD, path.text, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0)
        return 0;
    long length = sys_call3(SYS_read, file, text, sizeof text - 1);
    sys_call1(SYS_close, file);
    long at = length;
    while (at > 0 && text[at - 1] != ')')
        at--;
    for (int field = 2; at < length && field < 22; at++)
        field += text[at] == ' ';
    for (; at < length && text[at] >= '0' && text[at] <= '9'; at++)
        number = number * 10 + (unsigned long)(text[at] - '0');
    return number;
}

static const char *number_read(const char *text, unsigned long *number)
{
    *number = 0;
    while (*text >= '0' && *text <= '9')
        *number = *number * 10 + (unsigned long)(*text++ - '0');
    return text;
}

/* Whether a directory's name, run-NAMESPACE-PROCESS-START, is of a process that has ended. */
static bool is_over(const char *name)
{
    unsigned long space, process, start;
    if (!bytes_equal(name, "run-", 4))
        return false;
    const char *at = number_read(name + 4, &space);
    if (*at++ != '-' || *(at = number_read(at, &process)) != '-' || *number_read(at + 1, &start) != '\0')
        return false;
    return space == namespace_number() && process_start(process) != start;
}

/* ---- removing ---- */

static void tree_remove(int parent, const char *name, int depth);

static void directory_empty(int directory, bool (*wanted)(const char *name), int depth)
{
    char block[BLOCK] __attribute__((aligned(8)));
    long length;
    while ((length = sys_call3(SYS_getdents64, directory, block, sizeof block)) > 0)
        for (long at = 0; at < length;) {
            const struct entry *entry = (const struct entry *)(block + at);
            bool dots = entry->name[0] == '.' && (!entry->name[1] || (entry->name[1] == '.' && !entry->name[2]));
            if (!dots && (!wanted || wanted(entry->name)))
                tree_remove(directory, entry->name, depth);
            at += entry->size;
        }
}

static void tree_remove(int parent, const char *name, int depth)
{
    if (sys_call3(SYS_unlinkat, parent, name, 0) == 0 || depth == 0)
        return;
    sys_call3(SYS_fchmodat, parent, name, 0700);
    long directory = sys_call4(SYS_openat, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (directory < 0)
        return;
    directory_empty((int)directory, NULL, depth - 1);
    sys_call1(SYS_close, directory);
    sys_call3(SYS_unlinkat, parent, name, AT_REMOVEDIR);
}

static void sweep(const char *own)
{
    long directory = sys_call4(SYS_openat, AT_FDCWD, own, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (directory < 0)
        return;
    directory_empty((int)directory, is_over, DEPTH_MAX);
    sys_call1(SYS_close, directory);
}

/* ---- making ---- */

/* A new empty directory of this run's. */
static long scratch_make(struct line *path)
{
    char own[PATH_SIZE];
    unsigned long process = (unsigned long)sys_call0(SYS_getpid);
    own_directory(own);
    sweep(own);
    line_put(path, own);
    line_put(path, "/run-");
    line_put_number(path, namespace_number(), 10);
    line_put(path, "-");
    line_put_number(path, process, 10);
    line_put(path, "-");
    line_put_number(path, process_start(process), 10);
    long result = sys_call3(SYS_mkdirat, AT_FDCWD, path->text, 0700);
    if (result < 0 && result != -EEXIST)
        return result;
    line_put(path, "/");
    line_put_number(path, engine.world.count, 10);
    return sys_call3(SYS_mkdirat, AT_FDCWD, path->text, 0755);
}

static void scratch_show(const struct target *target)
{
    struct line path = {.at = 0};
    long result = scratch_make(&path);
    if (result < 0)
        report_failure(path.text, result);
    target_show(target, path.text, false);
}

void scratch_add(const char *guest)
{
    struct target target;
    target_offer(guest, true, &target);
    scratch_show(&target);
}

static bool is_empty(const char *path)
{
    char block[BLOCK] __attribute__((aligned(8)));
    long directory = sys_call4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (directory < 0)
        return false; /* not ours to read: what is in there stays */
    long length = sys_call3(SYS_getdents64, directory, block, sizeof block);
    sys_call1(SYS_close, directory);
    long count = 0;
    for (long at = 0; at < length; count++)
        at += ((const struct entry *)(block + at))->size;
    return count <= 2;
}

/* Makes sure that an image's volume is a directory, and writable as docker's anonymous volumes are.  In a
 * container that belongs to somebody else it can be neither made nor written: an empty one is then replaced by
 * one of this run's, one with files stays as it is, and one that is missing is left to the program. */
void scratch_volume(const char *guest)
{
    struct target target = {.is_unlisted = false};
    long result = target_try(guest, true, &target);
    if (result == -EACCES || result == -EPERM || result == -EROFS)
        return;
    if (result < 0)
        target_refuse(guest, result);
    bool closed = target.place.read_only || sys_call3(SYS_faccessat, AT_FDCWD, target.place.host, 2 /* W_OK */) < 0;
    if (closed && is_directory(target.place.host) && is_empty(target.place.host))
        scratch_show(&target);
}
