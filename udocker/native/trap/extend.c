/* Files that the program sees with text after them, as /etc/passwd with a line for the caller.
 *
 * Nothing ends with a run here, for nobody is left to clean up after one that was killed: the copy is kept in the
 * container's own directory, under a name that follows from what is in it.  The next run finds it there, other
 * text makes another file, and all of them go when the container is removed.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "begin.h"

/* More than any file of accounts has; Python's side has the same bound. */
enum { EXTENDED_MAX = 16 << 20 };

struct content {
    char *bytes;
    size_t size;
    unsigned mode;
};

static long file_read(const char *path, char *bytes, size_t room)
{
    size_t size = 0;
    long part = 1;
    long file = sys_call4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
    if (file < 0)
        return file;
    while (part > 0 && size < room) {
        part = sys_call3(SYS_read, file, bytes + size, room - size);
        size += part > 0 ? (size_t)part : 0;
    }
    sys_call1(SYS_close, file);
    return part < 0 ? part : (long)size;
}

static long content_map(size_t size)
{
    return sys_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* The file's bytes, a newline where the last line lacks one, and the text. */
static long content_make(struct content *content, const char *source, const char *target, const char *text)
{
    struct stat info, shown;
    size_t length = bytes_length(text);
    long result = sys_call2(SYS_stat, source, &info);
    if (result < 0)
        return result;
    if (sys_call2(SYS_stat, target, &shown) < 0)
        shown.st_mode = 0644; /* one that the container lacks */
    if (!S_ISREG(info.st_mode))
        return -EINVAL;
    if (info.st_size > EXTENDED_MAX)
        return -EFBIG;
    size_t room = (size_t)info.st_size + length + 2;
    long place = content_map(room);
    if (place < 0 && place > -4096)
        return place;
    content->bytes = (char *)place;
    result = file_read(source, content->bytes, (size_t)info.st_size);
    if (result < 0)
        return result;
    content->size = (size_t)result;
    if (content->size > 0 && length > 0 && content->bytes[content->size - 1] != '\n')
        content->bytes[content->size++] = '\n';
    bytes_copy(content->bytes + content->size, text, length);
    content->size += length;
    content->mode = (shown.st_mode & 0755) | 0400;
    return 0;
}

/* FNV-1a, of 64 bits: a name, not a proof; what lies there is compared. */
static unsigned long content_name(const struct content *content)
{
    unsigned long hash = 0xcbf29ce484222325ul ^ content->mode;
    for (size_t i = 0; i < content->size; i++)
        hash = (hash ^ (unsigned char)content->bytes[i]) * 0x100000001b3ul;
    return hash;
}

static bool content_is(const struct content *content, const char *path)
{
    struct stat info;
    long place;
    if (sys_call2(SYS_lstat, path, &info) < 0 || !S_ISREG(info.st_mode) || (info.st_mode & 07777) != content->mode ||
        info.st_uid != (unsigned)sys_call0(SYS_geteuid) || info.st_size != (long)content->size)
        return false;
    place = content_map(content->size + 1);
    if (place < 0 && place > -4096)
        return false;
    bool same = file_read(path, (char *)place, content->size + 1) == (long)content->size &&
                bytes_equal((char *)place, content->bytes, content->size);
    sys_call2(SYS_munmap, place, content->size + 1);
    return same;
}

static long content_write(const struct content *content, long file)
{
    for (size_t done = 0; done < content->size;) {
        long part = sys_call3(SYS_write, file, content->bytes + done, content->size - done);
        if (part < 0)
            return part;
        done += (size_t)part;
    }
    return sys_call2(SYS_fchmod, file, content->mode);
}

/* A file without a name first, which leaves nothing where this is killed; NFS has none. */
static long content_publish(const struct content *content, const char *directory, const char *path)
{
    struct line link = {.at = 0}, other = {.at = 0};
    long file = sys_call4(SYS_openat, AT_FDCWD, directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    bool named = file < 0;
    line_put(&other, path);
    line_put(&other, ".");
    line_put_number(&other, (unsigned long)sys_call0(SYS_getpid), 10);
    if (named)
        file = sys_call4(SYS_openat, AT_FDCWD, other.text, O_CREAT | O_TRUNC | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0600);
    if (file < 0)
        return file;
    line_put(&link, "/proc/self/fd/");
    line_put_number(&link, (unsigned long)file, 10);
    long result = content_write(content, file);
    if (result == 0 && !named) {
        sys_call3(SYS_unlinkat, AT_FDCWD, path, 0); /* another one's, or a broken one */
        result = sys_call5(SYS_linkat, AT_FDCWD, link.text, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    } else if (result == 0) {
        result = sys_call4(SYS_renameat, AT_FDCWD, other.text, AT_FDCWD, path);
    }
    if (result < 0 && named)
        sys_call3(SYS_unlinkat, AT_FDCWD, other.text, 0);
    sys_call1(SYS_close, file);
    return result == -EEXIST ? 0 : result;
}

/* Makes the directory if need be; whether it is the caller's. */
static bool directory_is_own(const char *path)
{
    struct stat info;
    long made = sys_call3(SYS_mkdirat, AT_FDCWD, path, 0700);
    if (made < 0 && made != -EEXIST)
        return false;
    return sys_call2(SYS_lstat, path, &info) == 0 && S_ISDIR(info.st_mode) &&
           info.st_uid == (unsigned)sys_call0(SYS_geteuid);
}

/* Where the copies lie: beside the container's root, or for one that is not the caller's in /tmp. */
static void files_directory(const char *wanted, char path[PATH_SIZE])
{
    struct path_place place;
    if (wanted && engine_outer_path(wanted, &place) == 0 && directory_is_own(place.host)) {
        host_path(wanted, path);
        return;
    }
    own_directory(path);
}

void extend_add(const char *wanted, const char *source, const char *guest, const char *text)
{
    struct target target;
    struct content content;
    struct line path = {.at = 0};
    char directory[PATH_SIZE];
    target_offer(guest, false, &target);
    struct path_place outer;
    long result = *source ? engine_outer_path(source, &outer) : 0;
    if (result < 0)
        report_failure(source, result);
    result = content_make(&content, *source ? outer.host : target.place.host, target.place.host, text);
    if (result < 0)
        report_failure(guest, result);
    files_directory(wanted, directory);
    line_put(&path, directory);
    line_put(&path, "/");
    line_put_number(&path, content_name(&content), 16);
    if (path.at + 16 > sizeof path.text)
        report_failure(directory, -ENAMETOOLONG);
    if (!content_is(&content, path.text))
        result = content_publish(&content, directory, path.text);
    if (result < 0)
        report_failure(guest, result);
    target_show(&target, path.text, true);
}
