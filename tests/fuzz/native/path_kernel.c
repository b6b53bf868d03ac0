/* The kernel's answers: by a helper with a mount namespace of its own and a changed root.  Everything is in a user
 * namespace, in a tmpfs that ends with the process. */

#include "path_fuzz.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { PROC_MAGIC = 0x9fa0, CANNOT_TRY = 77 };

struct scene *scene;
static int to_helper[2], from_helper[2];

void check(long result, const char *what)
{
    if (result >= 0)
        return;
    perror(what);
    exit(CANNOT_TRY);
}

int descend(int directory, const char *path, bool makes)
{
    char name[64];
    int file = dup(directory);
    while (file >= 0 && *path == '/') {
        size_t size = strcspn(++path, "/");
        snprintf(name, sizeof name, "%.*s", (int)size, path);
        path += size;
        if (makes)
            mkdirat(file, name, 0755);
        int next = openat(file, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(file);
        file = next;
    }
    return file;
}

int descend_to(int directory, const char *path, bool makes, const char **name)
{
    char parent[256];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    *name = slash + 1;
    return descend(directory, parent, makes);
}

static struct answer answer_of(int directory, const char *path, int flags)
{
    struct answer answer = {0};
    struct stat info;
    struct statfs system;
    if (fstatat(directory, path, &info, flags) < 0) {
        answer.error = errno;
        return answer;
    }
    int file = openat(directory, path, O_PATH | O_CLOEXEC | (flags ? O_NOFOLLOW : 0));
    answer.is_proc = file >= 0 && fstatfs(file, &system) == 0 && system.f_type == PROC_MAGIC;
    close(file);
    answer.device = info.st_dev;
    answer.inode = info.st_ino;
    return answer;
}

/* Makes a directory: where, is what counts. */
static struct answer answer_of_making(int directory, const char *path)
{
    struct answer answer = {0};
    if (mkdirat(directory, path, 0755) < 0) {
        answer.error = errno;
        return answer;
    }
    int made = openat(directory, path, O_PATH | O_CLOEXEC);
    answer = answer_of(made, "..", 0);
    close(made);
    unlinkat(directory, path, AT_REMOVEDIR);
    return answer;
}

struct answer look_up(const struct query *query, int directory, const char *path)
{
    if (query->kind == MAKE)
        return answer_of_making(directory, path);
    return answer_of(directory, path, query->kind == KEEP ? AT_SYMLINK_NOFOLLOW : 0);
}


/* ---- the helper: the kernel's answers ---- */

static bool bind_make(struct bind *bind, int root)
{
    const char *name;
    char from[64], to[64];
    struct stat info;
    char host[256];
    /* The same as a path from the scene->top, through no link. */
    snprintf(host, sizeof host, "%s", bind->host + strlen(scene->top));
    int above = open(scene->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = descend_to(above, host, false, &name);
    int source = parent < 0 ? -1 : openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    close(above);
    close(parent);
    if (source < 0 || fstat(source, &info) < 0 || S_ISLNK(info.st_mode))
        return close(source), false;
    int directory = descend_to(root, bind->guest, true, &name);
    if (directory >= 0 && S_ISDIR(info.st_mode))
        mkdirat(directory, name, 0755);
    else if (directory >= 0)
        close(openat(directory, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    int target = directory < 0 ? -1 : openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    close(directory);
    snprintf(from, sizeof from, "/proc/self/fd/%d", source);
    snprintf(to, sizeof to, "/proc/self/fd/%d", target);
    struct stat there;
    bool fits = target >= 0 && fstat(target, &there) == 0 && !S_ISLNK(there.st_mode) &&
                S_ISDIR(there.st_mode) == S_ISDIR(info.st_mode);
    bool done = fits && mount(from, to, NULL, MS_BIND, NULL) == 0;
    close(source);
    close(target);
    return done;
}

static void helper_answer(int old_root)
{
    char root[128];
    snprintf(root, sizeof root, "%s/root", scene->top);
    check(mount(root, root, NULL, MS_BIND, NULL), "root");
    snprintf(root, sizeof root, "%s/root/proc", scene->top);
    check(mount("/proc", root, NULL, MS_BIND | MS_REC, NULL), "proc");
    snprintf(root, sizeof root, "%s/root", scene->top);
    for (size_t i = 0; i < scene->bind_count; i++) {
        int file = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        scene->binds[i].made = bind_make(&scene->binds[i], file);
        close(file);
    }
    check(chroot(root), root);
    check(chdir("/"), "/");
    for (int i = 0; i < OPEN_FILES; i++) {
        int file = open(scene->files[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        scene->opened[i] = file < 0 ? errno : 0;
        if (file >= 0)
            dup3(file, FIRST_FILE + i, O_CLOEXEC);
        close(file);
    }
    scene->entered = chdir(scene->cwd) < 0 ? errno : 0;
    for (size_t i = 0; i < scene->query_count; i++) {
        struct query *query = &scene->queries[i];
        query->answer = look_up(query, query->directory, query->path);
    }
    for (int i = 0; i < OPEN_FILES; i++)
        close(FIRST_FILE + i);
    check(fchdir(old_root), "old root");
    check(chroot("."), "old root");
    check(umount2(root, MNT_DETACH), "umount");
}

static _Noreturn void helper(void)
{
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    check(unshare(CLONE_NEWNS), "unshare");
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    int old_root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (read(to_helper[0], &byte, 1) == 1) {
        helper_answer(old_root);
        check(write(from_helper[1], &byte, 1), "answer");
    }
    _exit(0);
}

void kernel_start(void)
{
    char users[64], groups[64];
    snprintf(users, sizeof users, "0 %u 1", geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", getegid());
    check(unshare(CLONE_NEWUSER | CLONE_NEWNS), "user namespace");
    const char *const texts[][2] = {
        {"/proc/self/setgroups", "deny"}, {"/proc/self/uid_map", users}, {"/proc/self/gid_map", groups}};
    for (size_t i = 0; i < 3; i++) {
        int file = open(texts[i][0], O_WRONLY | O_CLOEXEC);
        check(file < 0 ? -1 : write(file, texts[i][1], strlen(texts[i][1])), texts[i][0]);
        close(file);
    }
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    check(mount("tmpfs", PLACE, "tmpfs", 0, NULL), PLACE);
    scene = mmap(NULL, sizeof *scene, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(scene == MAP_FAILED || pipe(to_helper) < 0 || pipe(from_helper) < 0 ? -1 : 0, "helper");
    pid_t child = fork();
    check(child, "fork");
    if (child == 0) {
        close(to_helper[1]);
        helper();
    }
    close(to_helper[0]);
}

void kernel_answer(void)
{
    char byte = 'x'; /* SIGALRM is libFuzzer's */
    check(TEMP_FAILURE_RETRY(write(to_helper[1], &byte, 1)), "helper");
    check(TEMP_FAILURE_RETRY(read(from_helper[0], &byte, 1)) == 1 ? 0 : -1, "helper");
}
