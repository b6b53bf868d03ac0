/* Every call that takes a path and looks or runs, with one that leads outside.  Where nothing is contained each
 * reaches it. */

#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MARK "user.mark"

static bool read_file(const char *way)
{
    return show(below(way, "secret"));
}

static bool read_by_openat2(const char *way)
{
    bool seen = false;
    for (unsigned resolve = 0; resolve <= RESOLVE_IN_ROOT; resolve = resolve ? 2 * resolve : 1) {
        struct open_how how = {.flags = O_RDONLY, .resolve = resolve};
        int directory = open("/", O_PATH);
        int file = (int)syscall(SYS_openat2, directory, below(way, "secret"), &how, sizeof how);
        char text[100];
        if (file >= 0 && read(file, text, sizeof text) > 0)
            seen = true;
        closed(file);
        closed(directory);
    }
    return seen;
}

static bool read_by_handle(const char *way)
{
    int file = open(below(way, "secret"), O_PATH);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (file >= 0)
        show(link);
    return closed(file);
}

static bool list(const char *way)
{
    char entries[1024];
    int file = open(way, O_RDONLY | O_DIRECTORY);
    if (file >= 0 && syscall(SYS_getdents64, file, entries, sizeof entries) > 0)
        show_at(file, "secret");
    return closed(file);
}

static bool enter(const char *way)
{
    if (chdir(way) < 0)
        return false;
    show("secret");
    show("../outside/secret");
    return true;
}

static bool stat_file(const char *way)
{
    struct stat info;
    return stat(below(way, "secret"), &info) == 0;
}

static bool stat_by_number(const char *way)
{
    struct stat info;
    return syscall(SYS_stat, below(way, "secret"), &info) == 0;
}

static bool stat_directory(const char *way)
{
    struct stat info;
    struct stat own;
    return stat(way, &info) == 0 && (stat("/", &own) < 0 || own.st_ino != info.st_ino);
}

static bool lstat_file(const char *way)
{
    struct stat info;
    return lstat(below(way, "link"), &info) == 0;
}

static bool statx_file(const char *way)
{
    struct statx info;
    return statx(AT_FDCWD, below(way, "secret"), 0, STATX_ALL, &info) == 0;
}

static bool access_file(const char *way)
{
    return access(below(way, "secret"), F_OK) == 0;
}

static bool access_by_flags(const char *way)
{
    return syscall(SYS_faccessat2, AT_FDCWD, below(way, "secret"), R_OK, AT_EACCESS) == 0;
}

static bool readlink_file(const char *way)
{
    char text[100];
    return readlink(below(way, "link"), text, sizeof text) > 0;
}

static bool statfs_file(const char *way)
{
    struct statfs info;
    return statfs(below(way, "secret"), &info) == 0;
}

static bool getxattr_file(const char *way)
{
    char text[100];
    return getxattr(below(way, "secret"), MARK, text, sizeof text) > 0;
}

static bool lgetxattr_file(const char *way)
{
    char text[100];
    return lgetxattr(below(way, "secret"), MARK, text, sizeof text) > 0;
}

static bool listxattr_file(const char *way)
{
    char text[100];
    return listxattr(below(way, "secret"), text, sizeof text) > 0;
}

static bool watch(const char *way)
{
    int file = inotify_init1(IN_CLOEXEC);
    bool seen = inotify_add_watch(file, below(way, "secret"), IN_ALL_EVENTS) >= 0;
    closed(file);
    return seen;
}

static bool watch_all(const char *way)
{
    int file = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
    bool seen = file >= 0 && fanotify_mark(file, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, below(way, "secret")) == 0;
    closed(file);
    return seen;
}

static bool name_handle(const char *way)
{
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    struct file_handle *handle = (struct file_handle *)room;
    int mount;
    handle->handle_bytes = MAX_HANDLE_SZ;
    return name_to_handle_at(AT_FDCWD, below(way, "secret"), handle, &mount, 0) == 0;
}

/* ---- running ---- */

static bool child_succeeds(void (*run)(const char *path), const char *path)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        run(path);
        _exit(1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void run_path(const char *path)
{
    char *arguments[] = {"program", NULL};
    execv(path, arguments);
}

static void run_descriptor(const char *path)
{
    char *arguments[] = {"program", NULL}, *environment[] = {NULL};
    fexecve(open(path, O_PATH), arguments, environment);
}

static bool execute(const char *way)
{
    return child_succeeds(run_path, below(way, "program"));
}

static bool execute_descriptor(const char *way)
{
    return child_succeeds(run_descriptor, below(way, "program"));
}

/* A script of ours that wants a program of the host to read it. */
static bool execute_script(const char *way)
{
    const char *program = below(way, "program");
    FILE *script = fopen(WORK "/script", "w");
    if (!script || strlen(program) > 200)
        return script && fclose(script) != 0;
    fprintf(script, "#!%s\n", program);
    fclose(script);
    chmod(WORK "/script", 0755);
    return child_succeeds(run_path, WORK "/script");
}

static bool connect_socket(const char *way)
{
    struct sockaddr_un address;
    int file = socket(AF_UNIX, SOCK_STREAM, 0);
    bool fits = address_of(&address, below(way, "socket"));
    bool done = fits && connect(file, (struct sockaddr *)&address, sizeof address) == 0;
    closed(file);
    return done;
}

static bool send_datagram(const char *way)
{
    struct sockaddr_un address;
    int file = socket(AF_UNIX, SOCK_DGRAM, 0);
    bool fits = address_of(&address, below(way, "socket"));
    struct iovec data = {"x", 1};
    struct msghdr message = {&address, sizeof address, &data, 1, NULL, 0, 0};
    struct mmsghdr messages = {message, 0};
    /* EPROTOTYPE: it is there, but takes no datagrams. */
    bool seen = fits && ((sendto(file, "x", 1, 0, (struct sockaddr *)&address, sizeof address) < 0 &&
                          errno == EPROTOTYPE) ||
                         (sendmsg(file, &message, 0) < 0 && errno == EPROTOTYPE) ||
                         (sendmmsg(file, &messages, 1, 0) < 0 && errno == EPROTOTYPE));
    closed(file);
    return seen;
}

const struct act sights[] = {
    {"open", read_file},
    {"openat2", read_by_openat2},
    {"open-path", read_by_handle},
    {"getdents", list},
    {"chdir", enter},
    {"newfstatat", stat_file},
    {"stat", stat_by_number},
    {"stat-directory", stat_directory},
    {"lstat", lstat_file},
    {"statx", statx_file},
    {"access", access_file},
    {"faccessat2", access_by_flags},
    {"readlink", readlink_file},
    {"statfs", statfs_file},
    {"getxattr", getxattr_file},
    {"lgetxattr", lgetxattr_file},
    {"listxattr", listxattr_file},
    {"inotify", watch},
    {"fanotify", watch_all},
    {"name_to_handle_at", name_handle},
    {"execve", execute},
    {"fexecve", execute_descriptor},
    {"script", execute_script},
    {"connect", connect_socket},
    {"sendto", send_datagram},
    {NULL, NULL},
};
