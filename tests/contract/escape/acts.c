/* Every call that takes a path and changes something: the same. */

#include "escape.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#define MARK "user.mark"
#define MINE WORK "/mine"

static bool bind_socket(const char *way)
{
    struct sockaddr_un address;
    int file = socket(AF_UNIX, SOCK_STREAM, 0);
    bool fits = address_of(&address, below(way, "bound"));
    bool done = fits && bind(file, (struct sockaddr *)&address, sizeof address) == 0;
    closed(file);
    return done;
}

static bool write_file(const char *way)
{
    int file = open(below(way, "secret"), O_WRONLY | O_APPEND);
    return file >= 0 && write(file, "x", 1) == 1 && closed(file);
}

static bool create(const char *way)
{
    return closed(creat(below(way, "made"), 0644));
}

static bool create_new(const char *way)
{
    return closed(open(below(way, "made"), O_CREAT | O_EXCL | O_RDWR, 0644));
}

static bool create_by_openat2(const char *way)
{
    struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 0644};
    return closed((int)syscall(SYS_openat2, AT_FDCWD, below(way, "made"), &how, sizeof how));
}

static bool create_nameless(const char *way)
{
    int file = open(way, O_TMPFILE | O_RDWR, 0644);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (file >= 0)
        linkat(AT_FDCWD, link, AT_FDCWD, below(way, "made"), AT_SYMLINK_FOLLOW);
    return closed(file);
}

static bool truncate_file(const char *way)
{
    return truncate(below(way, "secret"), 3) == 0;
}

static bool chmod_file(const char *way)
{
    return chmod(below(way, "secret"), 0600) == 0;
}

static bool chmod_by_flags(const char *way)
{
    return syscall(SYS_fchmodat, AT_FDCWD, below(way, "secret"), 0600, 0) == 0;
}

static bool chmod_at(const char *way)
{
    return syscall(452 /* fchmodat2 */, AT_FDCWD, below(way, "secret"), 0600, 0) == 0;
}

static bool chown_file(const char *way)
{
    return chown(below(way, "secret"), (uid_t)-1, getgid()) == 0;
}

static bool lchown_file(const char *way)
{
    return lchown(below(way, "secret"), (uid_t)-1, getgid()) == 0;
}

static bool set_time(const char *way)
{
    struct utimbuf times = {1, 1};
    return utime(below(way, "secret"), &times) == 0;
}

static bool set_times(const char *way)
{
    struct timeval times[2] = {{1, 1}, {1, 1}};
    return syscall(SYS_utimes, below(way, "secret"), times) == 0;
}

static bool set_times_at(const char *way)
{
    struct timeval times[2] = {{1, 1}, {1, 1}};
    return syscall(SYS_futimesat, AT_FDCWD, below(way, "secret"), times) == 0;
}

static bool set_times_exactly(const char *way)
{
    struct timespec times[2] = {{1, 1}, {1, 1}};
    return utimensat(AT_FDCWD, below(way, "secret"), times, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool setxattr_file(const char *way)
{
    return setxattr(below(way, "secret"), "user.other", "x", 1, 0) == 0;
}

static bool lsetxattr_file(const char *way)
{
    return lsetxattr(below(way, "secret"), "user.other", "x", 1, 0) == 0;
}

static bool removexattr_file(const char *way)
{
    return removexattr(below(way, "secret"), MARK) == 0;
}

static bool lremovexattr_file(const char *way)
{
    return lremovexattr(below(way, "secret"), MARK) == 0;
}

static bool make_directory(const char *way)
{
    return mkdir(below(way, "made"), 0755) == 0;
}

static bool make_fifo(const char *way)
{
    return mknod(below(way, "made"), S_IFIFO | 0644, 0) == 0;
}

static bool make_fifo_at(const char *way)
{
    return syscall(SYS_mknodat, AT_FDCWD, below(way, "made"), S_IFREG | 0644, 0) == 0;
}

static bool make_link(const char *way)
{
    return symlink("secret", below(way, "made")) == 0;
}

static bool make_link_at(const char *way)
{
    return symlinkat("secret", AT_FDCWD, below(way, "made")) == 0;
}

static bool remove_directory(const char *way)
{
    return rmdir(below(way, "directory")) == 0;
}

static bool remove_file(const char *way)
{
    return unlink(below(way, "spare")) == 0;
}

static bool remove_file_at(const char *way)
{
    return unlinkat(AT_FDCWD, below(way, "spare"), 0) == 0;
}

static bool move_out(const char *way)
{
    return rename(below(way, "spare"), WORK "/stolen") == 0 && show(WORK "/stolen");
}

static bool move_in(const char *way)
{
    return rename(own_file(MINE), below(way, "brought")) == 0;
}

static bool move_in_at(const char *way)
{
    return renameat(AT_FDCWD, own_file(MINE), AT_FDCWD, below(way, "brought")) == 0;
}

static bool exchange(const char *way)
{
    return renameat2(AT_FDCWD, own_file(MINE), AT_FDCWD, below(way, "secret"), RENAME_EXCHANGE) == 0 && show(MINE);
}

static bool exchange_from_outside(const char *way)
{
    return renameat2(AT_FDCWD, below(way, "secret"), AT_FDCWD, own_file(MINE), RENAME_EXCHANGE) == 0 && show(MINE);
}

static bool link_out(const char *way)
{
    remove_tree(WORK "/hard");
    return link(below(way, "secret"), WORK "/hard") == 0 && show(WORK "/hard");
}

static bool link_out_at(const char *way)
{
    remove_tree(WORK "/hard");
    return linkat(AT_FDCWD, below(way, "secret"), AT_FDCWD, WORK "/hard", AT_SYMLINK_FOLLOW) == 0 &&
           show(WORK "/hard");
}

static bool link_in(const char *way)
{
    return link(own_file(MINE), below(way, "brought")) == 0;
}

const struct act acts[] = {
    {"bind", bind_socket},
    {"write", write_file},
    {"creat", create},
    {"open-new", create_new},
    {"openat2-new", create_by_openat2},
    {"tmpfile", create_nameless},
    {"truncate", truncate_file},
    {"chmod", chmod_file},
    {"fchmodat", chmod_by_flags},
    {"fchmodat2", chmod_at},
    {"chown", chown_file},
    {"lchown", lchown_file},
    {"utime", set_time},
    {"utimes", set_times},
    {"futimesat", set_times_at},
    {"utimensat", set_times_exactly},
    {"setxattr", setxattr_file},
    {"lsetxattr", lsetxattr_file},
    {"removexattr", removexattr_file},
    {"lremovexattr", lremovexattr_file},
    {"mkdir", make_directory},
    {"mknod", make_fifo},
    {"mknodat", make_fifo_at},
    {"symlink", make_link},
    {"symlinkat", make_link_at},
    {"rmdir", remove_directory},
    {"unlink", remove_file},
    {"unlinkat", remove_file_at},
    {"rename-out", move_out},
    {"rename-in", move_in},
    {"renameat-in", move_in_at},
    {"exchange", exchange},
    {"exchange-back", exchange_from_outside},
    {"link-out", link_out},
    {"linkat-out", link_out_at},
    {"link-in", link_in},
    {NULL, NULL},
};
