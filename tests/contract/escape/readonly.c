/* Changes to what is bound read-only at MORE: "file" and "directory" in it.  Where it is not bound so, each is
 * made. */

#include "escape.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static int file_of(const struct scene *scene, int flags)
{
    return open(below(scene->more, "file"), flags);
}

static int directory_of(const struct scene *scene)
{
    return open(scene->more, O_RDONLY | O_DIRECTORY);
}

static const char *link_of(int file)
{
    static char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return link;
}

static void spoil(int file)
{
    if (file >= 0 && write(file, "spoilt", 6) == 6)
        printf("written\n");
    close(file);
}

static void by_name(const struct scene *scene)
{
    spoil(file_of(scene, O_WRONLY));
}

static void by_descriptors_name(const struct scene *scene)
{
    spoil(open(link_of(file_of(scene, O_RDONLY)), O_RDWR));
}

static void by_handles_name(const struct scene *scene)
{
    spoil(open(link_of(file_of(scene, O_PATH)), O_RDWR));
}

static void by_directorys_name(const struct scene *scene)
{
    spoil(open(below(link_of(directory_of(scene)), "file"), O_RDWR));
}

static void by_directory(const struct scene *scene)
{
    spoil(openat(directory_of(scene), "file", O_RDWR));
}

static void beneath(const struct scene *scene)
{
    struct open_how how = {.flags = O_RDWR, .resolve = RESOLVE_BENEATH};
    spoil((int)syscall(SYS_openat2, directory_of(scene), "file", &how, sizeof how));
}

static void in_root(const struct scene *scene)
{
    struct open_how how = {.flags = O_RDWR | O_CREAT, .mode = 0644, .resolve = RESOLVE_IN_ROOT};
    spoil((int)syscall(SYS_openat2, directory_of(scene), "/new", &how, sizeof how));
}

static void nameless(const struct scene *scene)
{
    int file = open(scene->more, O_TMPFILE | O_RDWR, 0644);
    if (file >= 0 && linkat(AT_FDCWD, link_of(file), AT_FDCWD, below(scene->more, "new"), AT_SYMLINK_FOLLOW) == 0)
        printf("linked\n");
}

/* A second name, where writing is allowed. */
static void by_link(const struct scene *scene)
{
    remove_tree(WORK "/alias");
    if (link(below(scene->more, "file"), WORK "/alias") == 0)
        spoil(open(WORK "/alias", O_WRONLY));
}

static void by_descriptors_link(const struct scene *scene)
{
    remove_tree(WORK "/alias");
    const char *name = link_of(file_of(scene, O_RDONLY));
    if (linkat(AT_FDCWD, name, AT_FDCWD, WORK "/alias", AT_SYMLINK_FOLLOW) == 0)
        spoil(open(WORK "/alias", O_WRONLY));
}

static void by_link_of_descriptor(const struct scene *scene)
{
    remove_tree(WORK "/alias");
    if (linkat(file_of(scene, O_RDONLY), "", AT_FDCWD, WORK "/alias", AT_EMPTY_PATH) == 0)
        spoil(open(WORK "/alias", O_WRONLY));
}

static void by_move(const struct scene *scene)
{
    remove_tree(WORK "/alias");
    if (rename(below(scene->more, "file"), WORK "/alias") == 0)
        spoil(open(WORK "/alias", O_WRONLY));
}

static void fchmod_file(const struct scene *scene)
{
    fchmod(file_of(scene, O_RDONLY), 0600);
}

static void chmod_descriptor(const struct scene *scene)
{
    chmod(link_of(file_of(scene, O_PATH)), 0600);
}

static void chmod_empty(const struct scene *scene)
{
    syscall(452 /* fchmodat2 */, file_of(scene, O_PATH), "", 0600, AT_EMPTY_PATH);
}

static void chmod_link(const struct scene *scene)
{
    remove_tree(WORK "/to");
    if (symlink(below(scene->more, "file"), WORK "/to") == 0)
        chmod(WORK "/to", 0600);
}

static void fchown_file(const struct scene *scene)
{
    fchown(file_of(scene, O_RDONLY), (uid_t)-1, getgid());
}

static void chown_empty(const struct scene *scene)
{
    fchownat(file_of(scene, O_PATH), "", (uid_t)-1, getgid(), AT_EMPTY_PATH);
}

static void times_of_descriptor(const struct scene *scene)
{
    struct timespec times[2] = {{1, 1}, {1, 1}};
    futimens(file_of(scene, O_RDONLY), times);
}

static void times_empty(const struct scene *scene)
{
    struct timespec times[2] = {{1, 1}, {1, 1}};
    syscall(SYS_utimensat, file_of(scene, O_PATH), "", times, AT_EMPTY_PATH);
}

static void fsetxattr_file(const struct scene *scene)
{
    fsetxattr(file_of(scene, O_RDONLY), "user.other", "x", 1, 0);
}

static void fremovexattr_file(const struct scene *scene)
{
    fremovexattr(file_of(scene, O_RDONLY), "user.mark");
}

static void set_flags(const struct scene *scene)
{
    int file = file_of(scene, O_RDONLY), flags = FS_NODUMP_FL;
    ioctl(file, FS_IOC_SETFLAGS, &flags);
}

static void enter_and_make(const struct scene *scene)
{
    if (chdir(below(scene->more, "directory")) == 0 && mkdir("../new", 0755) == 0)
        printf("made\n");
}

static void make_by_directory(const struct scene *scene)
{
    if (mkdirat(directory_of(scene), "new", 0755) == 0)
        printf("made\n");
}

const struct trick changes[] = {
    {"open", by_name},
    {"proc-fd", by_descriptors_name},
    {"proc-fd-path", by_handles_name},
    {"proc-fd-directory", by_directorys_name},
    {"openat", by_directory},
    {"openat2-beneath", beneath},
    {"openat2-in-root", in_root},
    {"tmpfile", nameless},
    {"link", by_link},
    {"link-proc-fd", by_descriptors_link},
    {"link-empty", by_link_of_descriptor},
    {"rename", by_move},
    {"fchmod", fchmod_file},
    {"chmod-proc-fd", chmod_descriptor},
    {"fchmodat2-empty", chmod_empty},
    {"chmod-symlink", chmod_link},
    {"fchown", fchown_file},
    {"fchownat-empty", chown_empty},
    {"futimens", times_of_descriptor},
    {"utimensat-empty", times_empty},
    {"fsetxattr", fsetxattr_file},
    {"fremovexattr", fremovexattr_file},
    {"setflags", set_flags},
    {"mkdir-up", enter_and_make},
    {"mkdirat", make_by_directory},
    {NULL, NULL},
};
