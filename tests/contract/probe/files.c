/* Files, directories, identity and limits. */

#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

void files_are_made_and_changed(void)
{
    struct stat info, other;
    struct timespec times[2] = {{1000000000, 0}, {1000000001, 0}};
    file_make("one", "text\n");
    EXPECT(link("one", "two") == 0 && stat("two", &info) == 0 && info.st_nlink == 2);
    EXPECT(symlink("two", "three") == 0 && lstat("three", &other) == 0 && S_ISLNK(other.st_mode));
    EXPECT(stat("three", &other) == 0 && other.st_ino == info.st_ino && other.st_dev == info.st_dev);
    EXPECT(rename("one", "four") == 0 && access("one", F_OK) == -1 && errno == ENOENT);
    EXPECT(chmod("four", 0600) == 0 && stat("four", &info) == 0 && (info.st_mode & 07777) == 0600);
    EXPECT(utimensat(AT_FDCWD, "four", times, 0) == 0 && stat("four", &info) == 0 && info.st_mtime == 1000000001);
    EXPECT(truncate("four", 2) == 0 && file_is("two", "te"));
    EXPECT(chown("four", getuid(), getgid()) == 0);
    EXPECT(mkfifo("fifo", 0644) == 0 && stat("fifo", &info) == 0 && S_ISFIFO(info.st_mode));
    EXPECT(unlink("fifo") == 0 && unlink("three") == 0 && unlink("two") == 0 && unlink("four") == 0);
    EXPECT(open("gone", O_RDONLY) == -1 && errno == ENOENT);
    EXPECT(open("/etc/passwd/x", O_RDONLY) == -1 && errno == ENOTDIR);
    EXPECT(mkdir("/etc", 0755) == -1 && errno == EEXIST);
    EXPECT(rmdir(".") == -1 && errno == EINVAL);
}

void calls_relative_to_directories(void)
{
    struct stat info;
    char text[16];
    EXPECT(mkdir("a", 0755) == 0);
    int directory = open("a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int handle = open("a", O_PATH | O_CLOEXEC);
    EXPECT(directory >= 0 && handle >= 0);
    int file = openat(directory, "file", O_WRONLY | O_CREAT | O_EXCL, 0644);
    EXPECT(file >= 0 && write(file, "x", 1) == 1 && close(file) == 0);
    EXPECT(fstatat(handle, "file", &info, 0) == 0 && info.st_size == 1);
    EXPECT(linkat(directory, "file", AT_FDCWD, "hard", 0) == 0);
    EXPECT(symlinkat("file", directory, "soft") == 0);
    EXPECT(readlinkat(handle, "soft", text, sizeof text) == 4 && memcmp(text, "file", 4) == 0);
    EXPECT(mkdirat(directory, "b", 0755) == 0 && faccessat(handle, "b", X_OK, 0) == 0);
    EXPECT(renameat(directory, "b", AT_FDCWD, "c") == 0 && access("c", F_OK) == 0);
    EXPECT(fstatat(directory, "", &info, AT_EMPTY_PATH) == 0 && S_ISDIR(info.st_mode));
    EXPECT(fchmodat(directory, "file", 0640, 0) == 0 && unlinkat(directory, "soft", 0) == 0);
    EXPECT(openat(directory, "../hard", O_RDONLY | O_CLOEXEC) >= 0);
    EXPECT(fchdir(directory) == 0 && access("file", F_OK) == 0 && chdir("..") == 0);
    EXPECT(unlinkat(AT_FDCWD, "c", AT_REMOVEDIR) == 0);
}

static int entries;

static int entry_count(const char *path, const struct stat *info, int kind, struct FTW *unused)
{
    (void)path, (void)info, (void)unused;
    entries++;
    return kind == FTW_D || kind == FTW_F || kind == FTW_SL ? 0 : 1;
}

void trees_are_walked(void)
{
    char name[32], absolute[PATH_MAX];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "d%d", i);
        EXPECT(mkdir(name, 0755) == 0);
        snprintf(name, sizeof name, "d%d/f", i);
        file_make(name, "");
    }
    EXPECT(nftw(place, entry_count, 8, FTW_PHYS) == 0 && entries == 101);
    EXPECT(nftw(".", entry_count, 8, FTW_PHYS | FTW_CHDIR) == 0 && entries == 202);
    EXPECT(realpath("d1/../d2/./f", absolute) && strncmp(absolute, place, strlen(place)) == 0);
    EXPECT(strcmp(absolute + strlen(place), "/d2/f") == 0);
    DIR *directory = opendir("/");
    bool etc = false;
    for (struct dirent *entry; (entry = readdir(directory));)
        etc = etc || strcmp(entry->d_name, "etc") == 0;
    EXPECT(etc && closedir(directory) == 0);
}

void the_working_directory_is_the_containers(void)
{
    char now[PATH_MAX], deep[PATH_MAX];
    EXPECT(getcwd(now, sizeof now) && strcmp(now, place) == 0);
    EXPECT(chdir("/") == 0 && getcwd(now, sizeof now) && strcmp(now, "/") == 0);
    EXPECT(chdir("../..") == 0 && getcwd(now, sizeof now) && strcmp(now, "/") == 0);
    EXPECT(chdir(place) == 0);
    /* Deeper than any path may be long. */
    memset(deep, 'd', 200);
    deep[200] = '\0';
    for (int i = 0; i < 30; i++)
        EXPECT(mkdir(deep, 0755) == 0 && chdir(deep) == 0);
    file_make("bottom", "reached\n");
    EXPECT(file_is("bottom", "reached\n") && unlink("bottom") == 0);
    for (int i = 0; i < 30; i++)
        EXPECT(chdir("..") == 0 && rmdir(deep) == 0);
    EXPECT(getcwd(now, sizeof now) && strcmp(now, place) == 0);
    /* One that is removed while it is used. */
    EXPECT(mkdir("gone", 0755) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
    EXPECT(!getcwd(now, sizeof now) && errno == ENOENT);
    EXPECT(open("file", O_CREAT | O_WRONLY, 0644) == -1 && errno == ENOENT);
    EXPECT(chdir(place) == 0);
}

void long_paths_and_names(void)
{
    char path[PATH_MAX + 300], name[300];
    memset(name, 'n', 256);
    name[256] = '\0';
    EXPECT(open(name, O_CREAT | O_WRONLY, 0644) == -1 && errno == ENAMETOOLONG);
    name[255] = '\0';
    file_make(name, "");
    EXPECT(unlink(name) == 0);
    for (size_t at = 0; at < sizeof path - 2; at += 2)
        memcpy(path + at, "./", 3);
    EXPECT(access(path, F_OK) == -1 && errno == ENAMETOOLONG);
    path[PATH_MAX - 2] = '\0';
    EXPECT(access(path, F_OK) == 0);
    EXPECT(access("", F_OK) == -1 && errno == ENOENT);
}

void changes_of_files_are_watched(void)
{
    char event[sizeof(struct inotify_event) + NAME_MAX + 1];
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    EXPECT(watch >= 0 && inotify_add_watch(watch, place, IN_CREATE) >= 0);
    file_make("seen", "");
    EXPECT(read(watch, event, sizeof event) > 0);
    EXPECT(strcmp(((struct inotify_event *)event)->name, "seen") == 0);
}

void locks_and_maps_of_files(void)
{
    file_make("file", "0123456789");
    int one = open("file", O_RDWR | O_CLOEXEC), other = open("file", O_RDWR | O_CLOEXEC);
    EXPECT(one >= 0 && other >= 0 && flock(one, LOCK_EX) == 0);
    EXPECT(flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
    char *map = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, one, 0);
    EXPECT(map != MAP_FAILED);
    map[0] = 'X';
    EXPECT(msync(map, 10, MS_SYNC) == 0 && file_is("file", "X123456789"));
    struct statvfs system;
    EXPECT(statvfs(place, &system) == 0 && system.f_bsize > 0);
}

/* ---- identity and limits ---- */

void the_user_is_who_owns_its_files(void)
{
    struct stat info;
    uid_t real, effective, saved;
    file_make("mine", "");
    EXPECT(stat("mine", &info) == 0 && info.st_uid == geteuid() && info.st_gid == getegid());
    EXPECT(getresuid(&real, &effective, &saved) == 0 && real == effective && effective == saved);
    EXPECT(setuid(getuid()) == 0);
}

void limits_hold(void)
{
    struct rlimit few = {40, 40};
    int files[40], count = 0;
    EXPECT(setrlimit(RLIMIT_NOFILE, &few) == 0);
    while (count < 40 && (files[count] = open("/etc/passwd", O_RDONLY)) >= 0)
        EXPECT(files[count++] < 40);
    EXPECT(errno == EMFILE);
    EXPECT(access("/etc/passwd", R_OK) == 0 && access("/etc/nothing", F_OK) == -1 && errno == ENOENT);
    while (count > 0)
        EXPECT(close(files[--count]) == 0);
    struct rlimit small = {4096, 4096};
    EXPECT(setrlimit(RLIMIT_FSIZE, &small) == 0 && signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    int file = open("big", O_WRONLY | O_CREAT, 0644);
    EXPECT(ftruncate(file, 4096) == 0 && ftruncate(file, 4097) == -1 && errno == EFBIG);
}
