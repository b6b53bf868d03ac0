/* The path translator against the kernel: bytes become directories, links, binds and paths; the translator looks
 * the paths up, and a helper with a changed root does (path_kernel.c).  Both must come to the same objects and errors.
 * libFuzzer or path_random.c calls it.
 */

#include "path_fuzz.h"

#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- bytes to choices ---- */

struct choices {
    const uint8_t *data;
    size_t left;
};

static unsigned choose(struct choices *choices, unsigned count)
{
    if (choices->left == 0)
        return 0;
    choices->left--;
    return *choices->data++ % count;
}

static const char *const names[] = {"a", "b", "c", "\xff \n", "link", "view", "exe", "a (deleted)"};
static const char *const parts[] = {"a", "b", "c", "\xff \n", "link", "view", "exe", "..", ".", "..", "", "fd"};
static const char *const starts[] = {
    "", "/", "//", "/", "", "/proc/self/root/", "/proc/self/cwd/", "/proc/self/fd/60/", "/proc/thread-self/fd/61/",
    "/proc/self/fd/../cwd/", "/proc/self/task/../root/", "/../",
};
static const char *const ends[] = {"", "", "", "/", "/.", "//", "/.."};

#define PICK(choices, table) (table)[choose(choices, sizeof(table) / sizeof *(table))]

/* A path of names only, "/a/b". */
static void plain_path(struct choices *choices, char path[256])
{
    path[0] = '\0';
    for (unsigned depth = 1 + choose(choices, 3); depth > 0; depth--) {
        strcat(path, "/");
        strcat(path, PICK(choices, names));
    }
}

static void any_path(struct choices *choices, char *path, size_t room)
{
    size_t at = (size_t)snprintf(path, room, "%s", PICK(choices, starts));
    unsigned count = choose(choices, 8);
    /* Now and then one as long as the kernel takes, or longer. */
    if (choose(choices, 64) == 63)
        for (size_t end = room - 200 + choose(choices, 130); at + 3 < end;)
            at += (size_t)snprintf(path + at, room - at, "./");
    for (unsigned i = 0; i < count; i++)
        at += (size_t)snprintf(path + at, room - at, "%s%s", i ? "/" : "", PICK(choices, parts));
    snprintf(path + at, room - at, "%s", PICK(choices, ends));
}

/* ---- the tree ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static void build_entry(struct choices *choices, int area)
{
    char path[256], target[256];
    const char *name;
    unsigned what = choose(choices, 4);
    plain_path(choices, path);
    int directory = descend_to(area, path, what != 3, &name);
    if (directory < 0)
        return;
    if (what == 0) {
        int file = openat(directory, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (file >= 0)
            close(file);
    } else if (what == 1) {
        mkdirat(directory, name, 0755);
    } else {
        any_path(choices, target, sizeof target);
        if (target[0])
            symlinkat(target, directory, name);
    }
    close(directory);
}

static int area_open(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", scene->top, name);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void build_tree(struct choices *choices)
{
    char path[128];
    for (size_t i = 0; i < AREAS; i++) {
        snprintf(path, sizeof path, "%s/%s", scene->top, areas[i]);
        check(mkdir(path, 0755), path);
    }
    snprintf(path, sizeof path, "%s/root/proc", scene->top);
    check(mkdir(path, 0755), path);
    for (unsigned count = choose(choices, 20); count > 0; count--) {
        int area = area_open(PICK(choices, areas));
        build_entry(choices, area);
        close(area);
    }
}

/* ---- what is asked ---- */

static int by_length(const void *one, const void *other)
{
    return (int)strlen(((const struct bind *)one)->guest) - (int)strlen(((const struct bind *)other)->guest);
}

/* Each area is bound once: of a directory that is bound twice the way back knows one name only. */
static void choose_binds(struct choices *choices)
{
    scene->bind_count = choose(choices, BINDS + 1);
    for (size_t i = 0; i < scene->bind_count; i++) {
        struct bind *bind = &scene->binds[i];
        char path[256];
        plain_path(choices, bind->guest);
        plain_path(choices, path);
        snprintf(bind->host, sizeof bind->host, "%s/%s%.100s", scene->top, areas[i + 1],
                 choose(choices, 2) ? path : "");
    }
    qsort(scene->binds, scene->bind_count, sizeof *scene->binds, by_length);
}

static void choose_queries(struct choices *choices)
{
    for (size_t i = 0; i < OPEN_FILES; i++)
        any_path(choices, scene->files[i], sizeof scene->files[i]);
    any_path(choices, scene->cwd, sizeof scene->cwd);
    scene->query_count = 1 + choose(choices, QUERIES);
    for (size_t i = 0; i < scene->query_count; i++) {
        struct query *query = &scene->queries[i];
        query->kind = (enum kind)choose(choices, 3);
        query->directory = choose(choices, 3) ? AT_FDCWD : FIRST_FILE + (int)choose(choices, OPEN_FILES);
        any_path(choices, query->path, sizeof query->path);
    }
}

/* ---- the translator's answers ---- */

static bool same(const struct answer *one, const struct answer *other)
{
    if (one->error || other->error)
        return one->error == other->error;
    if (one->is_proc || other->is_proc)
        return one->is_proc && other->is_proc;
    return one->device == other->device && one->inode == other->inode;
}

static struct answer translate(const struct path_world *world, const struct query *query)
{
    static struct path_place place;
    struct answer answer = {0};
    static const unsigned flags[] = {[FOLLOW] = PATH_FOLLOW, [KEEP] = 0, [MAKE] = PATH_NAME};
    int result = path_resolve(world, query->directory, query->path, flags[query->kind], &place);
    if (result < 0) {
        answer.error = -result;
        return answer;
    }
    return look_up(query, AT_FDCWD, place.host);
}

static void complain(const struct query *query, const struct answer *found)
{
    char command[128];
    fprintf(stderr, "kind %d, directory %d, cwd \"%s\", path \"%s\"\n", query->kind, query->directory, scene->cwd,
            query->path);
    fprintf(stderr, "\nkernel: error %d, %lx:%lx; translator: error %d, %lx:%lx\n", query->answer.error,
            (long)query->answer.device, (long)query->answer.inode, found->error, (long)found->device,
            (long)found->inode);
    for (size_t i = 0; i < OPEN_FILES; i++)
        fprintf(stderr, "%d: \"%s\" (error %d)\n", FIRST_FILE + (int)i, scene->files[i], scene->opened[i]);
    for (size_t i = 0; i < scene->bind_count; i++)
        fprintf(stderr, "bind \"%s\" to \"%s\"%s\n", scene->binds[i].host, scene->binds[i].guest,
                scene->binds[i].made ? "" : ": not made");
    snprintf(command, sizeof command, "cd %s && find . -printf '%%i %%p -> %%l\\n' >&2", scene->top);
    if (system(command) != 0)
        fprintf(stderr, "find failed\n");
    abort();
}

static void compare(const struct path_world *world)
{
    struct path_place place;
    for (int i = 0; i < OPEN_FILES; i++) {
        int result = path_resolve(world, AT_FDCWD, scene->files[i], PATH_FOLLOW, &place);
        int file = result < 0 ? -1 : open(place.host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int error = result < 0 ? -result : file < 0 ? errno : 0;
        struct query wrong = {.path = "(opened)", .answer.error = scene->opened[i]};
        struct answer found = {.error = error};
        if (error != scene->opened[i])
            complain(&wrong, &found);
        if (file >= 0)
            dup3(file, FIRST_FILE + i, O_CLOEXEC);
        close(file);
    }
    int result = path_resolve(world, AT_FDCWD, scene->cwd, PATH_FOLLOW, &place);
    if (result == 0 && chdir(place.host) < 0)
        result = -errno;
    struct query wrong = {.path = "(entered)", .answer.error = scene->entered};
    struct answer entered = {.error = -result};
    if (-result != scene->entered)
        complain(&wrong, &entered);
    for (size_t i = 0; i < scene->query_count; i++) {
        struct answer found = translate(world, &scene->queries[i]);
        if (!same(&found, &scene->queries[i].answer))
            complain(&scene->queries[i], &found);
    }
    for (int i = 0; i < OPEN_FILES; i++)
        close(FIRST_FILE + i);
}

static void world_make(struct path_world *world, const char *root)
{
    memset(world, 0, sizeof *world);
    world->exe_host = world->exe_guest = "";
    check(path_world_add(world, "", root, false), "root");
    check(path_world_add(world, "/proc", "/proc", false), "proc");
    for (size_t i = 0; i < scene->bind_count; i++)
        if (scene->binds[i].made)
            check(path_world_add(world, scene->binds[i].guest, scene->binds[i].host, false), "bind");
}

/* Before libFuzzer starts a thread, for a process with several cannot have a user namespace made. */
int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    kernel_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct path_world world;
    static unsigned long count;
    char root[128];
    struct choices choices = {data, size};
    snprintf(scene->top, sizeof scene->top, PLACE "/%lu", count++);
    check(mkdir(scene->top, 0755), scene->top);
    build_tree(&choices);
    choose_binds(&choices);
    choose_queries(&choices);
    kernel_answer();
    snprintf(root, sizeof root, "%s/root", scene->top);
    world_make(&world, root);
    check(chdir(root), root);
    compare(&world);
    check(chdir("/"), "/");
    check(nftw(scene->top, remove_one, 16, FTW_DEPTH | FTW_PHYS), scene->top);
    return 0;
}
