/* What calls say of odd paths in a directory of this program's own: one line a call, to be compared with what the kernel
 * says where no engine is.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEPTH = 45 /* times NAME: deeper than PATH_MAX twice */, NAME = 200, WAY = 2 };

/* The name of each run is another: it is not shown. */
#define TOP "/tmp/guest_paths-XXXXXX"

static const char *where = "";
static bool has_openat2;

static void say(const char *call, const char *path, long result)
{
    const char *shown = strncmp(path, TOP, sizeof TOP - 7) == 0 ? path + sizeof TOP - 1 : path;
    printf("%s %s(%.40s): %s\n", where, call, shown, result < 0 ? strerrorname_np(errno) : "done");
}

/* ---- names that are none ---- */

static void dots_of(const char *path)
{
    char other[512];
    say("rmdir", path, rmdir(path));
    say("unlink", path, unlink(path));
    say("unlinkat", path, unlinkat(AT_FDCWD, path, 0));
    say("unlinkat, directory", path, unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
    say("mkdir", path, mkdir(path, 0700));
    say("symlink", path, symlink("text", path));
    say("rename", path, rename(path, "renamed"));
    say("rename to", path, rename("file", path));
    say("renameat2", path, renameat2(AT_FDCWD, "file", AT_FDCWD, path, RENAME_NOREPLACE));
    say("link", path, link(path, "linked"));
    say("link to", path, link("file", path));
    say("mknod", path, mknod(path, S_IFIFO | 0600, 0));
    snprintf(other, sizeof other, "%s/new", path);
    say("mkdir in", path, mkdir(other, 0700));
    say("rmdir in", path, rmdir(other));
    say("lstat", path, access(path, F_OK));
}

static void dots(const char *top)
{
    static const char *const relative[] = {
        ".", "..", "./", "../", "empty/.", "empty/..", "empty/./", "empty/../", "./.", "empty/../empty/.",
        "file/.", "file/..", "missing/.", "missing/..", "to-empty/.", "to-empty/..", "to-empty/../empty/.",
    };
    char path[512];
    where = "dots";
    close(open("file", O_CREAT | O_WRONLY, 0600));
    mkdir("empty", 0700);
    symlink("empty", "to-empty");
    chdir("empty");
    dots_of(".");
    dots_of("..");
    chdir("..");
    for (size_t i = 0; i < sizeof relative / sizeof *relative; i++) {
        dots_of(relative[i]);
        snprintf(path, sizeof path, "%s/%s", top, relative[i]);
        where = "dots below the top";
        dots_of(path);
        where = "dots";
    }
    where = "root";
    say("rmdir", "/", rmdir("/"));
    say("unlink", "/", unlink("/"));
    say("mkdir", "/", mkdir("/", 0700));
    say("rename", "/", rename("/", "renamed"));
    say("rename to", "/", rename("file", "/"));
}

/* ---- directories so deep that they have no name ---- */

static void file_write(const char *path, const char *text)
{
    int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0755);
    if (file < 0 || write(file, text, strlen(text)) < 0 || close(file) < 0)
        perror(path);
}

static void program_copy(const char *target)
{
    char block[65536];
    int from = open("/proc/self/exe", O_RDONLY), to = open(target, O_CREAT | O_WRONLY, 0755);
    for (ssize_t size; (size = read(from, block, sizeof block)) > 0;)
        if (write(to, block, (size_t)size) != size)
            perror(target);
    close(from), close(to);
}

static void deep_programs(void)
{
    file_write("script", "#!/bin/sh\ntest \"$0\" = ./self/script && exec ./program count 3>&- 4>&-\n");
    program_copy("program");
    fflush(stdout);
    say("system", "script", system("./self/script") == 0 ? 0 : -1);
    say("system", "program", system("self/program count 3>&- 4>&-") == 0 ? 0 : -1);
    say("system", "no program", system("./a/program 2>/dev/null") == 0 ? 0 : 127);
    say("remove", "program", unlink("program") | unlink("script"));
}

static void deep_calls(const char *top)
{
    char long_path[8192], buffer[8192];
    struct stat info, other;
    say("mkdir", "a", mkdir("a", 0700));
    say("mkdir", "a/b", mkdir("a/b", 0700));
    say("mkdir", "a/../c", mkdir("a/../c", 0700));
    say("rename", "c", rename("c", "a/../a/c"));
    say("symlink", "link", symlink("a/../a/b", "link"));
    say("symlink", "top", symlink(top, "top"));
    say("symlink", "self", symlink(".", "self"));
    say("symlink", "loop", symlink("loop", "loop"));
    say("stat", "loop", stat("loop", &info));
    say("lstat", "loop", lstat("loop", &info));
    say("stat", "link", stat("link", &info));
    say("stat", "a/b", stat("a/b/../b/.", &other));
    say("the same", "link", info.st_ino == other.st_ino ? 0 : -1);
    say("stat", "top/file", stat("top/file", &info));
    say("stat", "self/self/./../..", stat("self/self/./../..", &info));
    say("readlink", "link", readlink("link", buffer, sizeof buffer));
    say("readlink", "a/../link", readlink("a/../link", buffer, sizeof buffer));
    printf("%.8s\n", buffer);
    say("readlink", "a", readlink("a", buffer, sizeof buffer));
    int file = open("a/../file", O_CREAT | O_EXCL | O_RDWR, 0600);
    say("open, new", "file", file);
    say("write", "file", write(file, "text", 4));
    close(file);
    say("open, again", "file", open("a/../file", O_CREAT | O_EXCL | O_RDWR, 0600));
    say("open", "self/a/b/../../file", close(open("self/a/b/../../file", O_RDONLY)));
    say("open", "file/", open("file/", O_RDONLY));
    say("open", "file/..", open("file/..", O_RDONLY));
    say("open", "no/../file", open("no/../file", O_RDONLY));
    say("link", "file", link("file", "a/../hard"));
    say("chmod", "self/file", chmod("self/file", 0640));
    say("truncate", "a/../file", truncate("a/../file", 2));
    say("stat", "hard", stat("a/../hard", &info));
    printf("size %ld, mode %o, links %lu\n", (long)info.st_size, info.st_mode, (unsigned long)info.st_nlink);
    say("access", "a/../hard", access("a/../hard", W_OK));
    deep_programs();
    say("rmdir", ".", rmdir("."));
    say("rmdir", "a/.", rmdir("a/."));
    say("rmdir", "a", rmdir("a"));
    say("unlink", "a", unlink("a"));
    memset(long_path, 'n', 300);
    long_path[300] = '\0';
    say("stat", "a name too long", stat(long_path, &info));
    say("getcwd", "", syscall(SYS_getcwd, buffer, sizeof buffer));
    say("system", "cat", system("cat ./a/../file self/a/../hard >/dev/null") == 0 ? 0 : -1);
    say("remove", "all", unlink("hard") | unlink("file") | unlink("link") | unlink("top") | unlink("self") |
                             unlink("loop") | rmdir("a/c") | rmdir("a/b") | rmdir("a"));
}

static void deep(const char *top)
{
    char name[NAME + 1], up[3 * (WAY + 1)] = "";
    struct stat info, before;
    memset(name, 'd', NAME);
    name[NAME] = '\0';
    stat(".", &before);
    for (int i = 0; i < DEPTH; i++) {
        where = "down";
        say("mkdir", "name", mkdir(name, 0700));
        say("stat", "name/..", stat(name, &info));
        say("chdir", "name", chdir(name));
        say("chdir", "..", chdir(".."));
        say("chdir", "./name", chdir(name));
    }
    where = "deep";
    deep_calls(top);
    int held = open(".", O_RDONLY | O_DIRECTORY);
    strcpy(up, "../..");
    say("stat", up, stat(up, &info));
    say("open", up, close(open(up, O_RDONLY | O_DIRECTORY)));
    for (int i = DEPTH; i > 0; i--) {
        where = "up";
        say("chdir", "..", chdir(".."));
        say("mkdir", "at/../new", mkdir("./new", 0700));
        say("rmdir", "new", rmdir("new"));
        say("rmdir", "name", rmdir(name));
    }
    stat(".", &info);
    say("the same", "top", info.st_ino == before.st_ino && info.st_dev == before.st_dev ? 0 : -1);
    where = "removed";
    say("mkdirat", "new", mkdirat(held, "new", 0700));
}

/* A path that the kernel takes and that is longer with the way to the root before it. */
static void long_way(const char *top)
{
    char path[4096] = "", name[NAME + 1];
    size_t length = strlen(top);
    struct stat info;
    where = "long";
    memset(name, 'w', NAME);
    name[NAME] = '\0';
    strcpy(path, top);
    size_t ends[32], count = 0;
    while (length + NAME + 2 < sizeof path) {
        ends[count++] = length;
        length += (size_t)snprintf(path + length, sizeof path - length, "/%s", name);
        say("mkdir", "way", mkdir(path, 0700));
        say("stat", "way", stat(path, &info));
    }
    say("chdir", "way", chdir(path));
    say("open", "../..", close(open("../..", O_RDONLY | O_DIRECTORY)));
    say("chdir", "top", chdir(top));
    while (count > 0) {
        say("rmdir", "way", rmdir(path));
        path[ends[--count]] = '\0';
    }
}

/* ---- programs, roots, openat2 ---- */

static void started(const char *path, int flags)
{
    char *arguments[] = {"true", NULL}, *none[] = {NULL};
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        syscall(SYS_execveat, AT_FDCWD, path, arguments, none, flags);
        _exit(errno);
    }
    waitpid(child, &status, 0);
    printf("execveat(%s, %x): %s\n", path, (unsigned)flags, strerrorname_np(WEXITSTATUS(status)));
}

static void programs(void)
{
    where = "programs";
    symlink("/bin/sh", "shell");
    symlink("nowhere", "dangling");
    started("/bin/sh", -1);
    started("/bin/sh", 0x40000000);
    started("missing", 0x2);
    started("shell", AT_SYMLINK_NOFOLLOW);
    started("dangling", AT_SYMLINK_NOFOLLOW);
    started("dangling", 0);
    started("missing", AT_SYMLINK_NOFOLLOW);
}

static void roots(void)
{
    static char longer[5000];
    where = "roots";
    memset(longer, '/', sizeof longer - 1);
    symlink("loop", "loop");
    mkdir("closed", 0);
    const char *const paths[] = {"", "missing", "file", "file/", "file/x", "loop", longer, ".", "/", "empty",
                                 "to-empty", "shell", "closed", "closed/x"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        say("chroot", paths[i], chroot(paths[i]));
    say("chroot", "8", syscall(SYS_chroot, 8));
    say("chroot", "null", syscall(SYS_chroot, NULL));
    say("lstat", "null", syscall(SYS_lstat, NULL, NULL));
    say("open", "null", syscall(SYS_open, NULL, O_RDONLY));
    say("rename", "null", syscall(SYS_rename, "file", NULL));
    say("mknod", "4", syscall(SYS_mknod, 4, 0600, 0));
    rmdir("closed");
}

struct larger {
    struct open_how how;
    uint64_t more[2];
};

static void opened(const char *path, uint64_t flags, uint64_t resolve, size_t size, uint64_t more)
{
    struct larger wish = {{flags, 0, resolve}, {0, more}};
    errno = ENOSYS; /* as without the call */
    long file = has_openat2 ? syscall(SYS_openat2, AT_FDCWD, path, &wish, size) : -1;
    printf("resolve %lx, flags %lx, size %zu: ", (unsigned long)resolve, (unsigned long)flags, size);
    say("openat2", path, file);
    close((int)file);
}

static void opens(void)
{
    static const char *const paths[] = {"file", "to-file", "to-empty/../file", "/proc/self/exe", "/proc/self/fd/0",
                                        "/proc/self/root/etc", "/proc/self/cwd/file", "/proc/self/status"};
    static const uint64_t resolves[] = {0, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS};
    where = "opens";
    symlink("file", "to-file");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (size_t j = 0; j < sizeof resolves / sizeof *resolves; j++) {
            opened(paths[i], O_RDONLY, resolves[j], sizeof(struct open_how), 0);
            opened(paths[i], O_PATH | O_NOFOLLOW, resolves[j], sizeof(struct open_how), 0);
        }
    opened("file", O_RDONLY, 0, sizeof(struct larger), 0);
    opened("file", O_RDONLY, 0, sizeof(struct larger), 1);
    opened("file", O_RDONLY, 0, sizeof(struct open_how) + 8, 1);
    opened("file", O_RDONLY, 0, sizeof(struct open_how) - 1, 0);
    opened("file", O_RDONLY, 0, 1 << 20, 0);
}

int main(int argc, char **argv)
{
    char top[] = TOP;
    if (argc > 1 && strcmp(argv[1], "count") == 0)
        return dup(0) == 3 ? 0 : 4; /* no descriptor is left open */
    has_openat2 = argc < 2 || strcmp(argv[1], "without-openat2") != 0;
    setvbuf(stdout, NULL, _IOFBF, 1 << 20);
    if (!mkdtemp(top) || chdir(top) < 0)
        return 2;
    dots(top);
    deep(top);
    long_way(top);
    programs();
    if (geteuid() != 0) /* who may, and would not come back */
        roots();
    opens();
    fflush(stdout);
    execlp("rm", "rm", "-rf", top, NULL);
    return 3;
}
