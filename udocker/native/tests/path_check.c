/* Looks paths up, by the translator or by the kernel in a changed root, so that a test can compare the two.
 *
 *   path_check translate|kernel ROOT CWD [GUEST HOST]...
 *
 * Standard input holds records that end with NUL: 'f' or 'n' (follow a link at the end or not), then a path.
 * For each a line tells the object found, "device:inode", or the error's number.  CWD is a guest path.
 * `kernel` needs the right to make a user namespace, or root.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../path/path.h"

static void check(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(2);
    }
}

static void enter_root(const char *root, const char *cwd, char **binds)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        check(unshare(CLONE_NEWNS), "unshare");
    check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "slave");
    for (; *binds; binds += 2) {
        char target[2 * PATH_SIZE];
        snprintf(target, sizeof target, "%s%s", root, binds[0]);
        check(mount(binds[1], target, NULL, MS_BIND | MS_REC, NULL), target);
    }
    check(chroot(root), root);
    check(chdir(cwd), cwd);
}

static void build_world(struct path_world *world, const char *root, const char *cwd, char **binds)
{
    struct path_place place;
    memset(world, 0, sizeof *world);
    world->exe_host = world->exe_guest = "";
    check(path_world_add(world, "", root, false), root);
    for (; *binds; binds += 2)
        check(path_world_add(world, binds[0], binds[1], false), binds[0]);
    check(path_resolve(world, AT_FDCWD, cwd, PATH_FOLLOW, &place), cwd);
    check(chdir(place.host), place.host);
}

static void look_up(const struct path_world *world, bool follow, const char *path)
{
    struct path_place place;
    struct stat info;
    if (world) {
        int result = path_resolve(world, AT_FDCWD, path, follow ? PATH_FOLLOW : 0, &place);
        if (result < 0) {
            printf("%d\n", -result);
            return;
        }
        path = place.host;
    }
    if (fstatat(AT_FDCWD, path, &info, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        printf("%d\n", errno);
    else
        printf("%lx:%lx\n", (unsigned long)info.st_dev, (unsigned long)info.st_ino);
}

int main(int argc, char **argv)
{
    static struct path_world world;
    bool translate = argc > 1 && strcmp(argv[1], "translate") == 0;
    if (argc < 4 || argc % 2) {
        fprintf(stderr, "usage: path_check translate|kernel ROOT CWD [GUEST HOST]...\n");
        return 2;
    }
    if (translate)
        build_world(&world, argv[2], argv[3], argv + 4);
    else
        enter_root(argv[2], argv[3], argv + 4);
    char *record = NULL;
    size_t room = 0;
    while (getdelim(&record, &room, '\0', stdin) > 0)
        look_up(translate ? &world : NULL, record[0] == 'f', record + 1);
    free(record);
    return 0;
}
