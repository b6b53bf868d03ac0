/* What a user namespace of one's own allows: mounts and changed roots (user_namespaces(7)).  Each runs in a
 * child, and reads the secret by the place where it would be then. */

#include "escape.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACE WORK "/mount"

static void write_text(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file >= 0 && write(file, text, 0) == 0)
        dprintf(file, "%s", text);
    close(file);
}

static void namespace_enter(void)
{
    char text[64];
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return;
    write_text("/proc/self/setgroups", "deny");
    snprintf(text, sizeof text, "0 %u 1", user);
    write_text("/proc/self/uid_map", text);
    snprintf(text, sizeof text, "0 %u 1", group);
    write_text("/proc/self/gid_map", text);
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static bool in_namespace(bool (*attempt)(const char *way), const char *way)
{
    int status;
    mkdir(PLACE, 0755);
    pid_t child = fork();
    if (child == 0) {
        namespace_enter();
        _exit(attempt(way) ? 0 : 1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool bind_there(const char *way)
{
    return mount(way, PLACE, NULL, MS_BIND | MS_REC, NULL) == 0 && show(PLACE "/secret");
}

static bool clone_tree(const char *way)
{
    int tree = open_tree(AT_FDCWD, way, OPEN_TREE_CLONE | AT_RECURSIVE);
    if (tree < 0)
        return false;
    return show_at(tree, "secret") ||
           (move_mount(tree, "", AT_FDCWD, PLACE, MOVE_MOUNT_F_EMPTY_PATH) == 0 && show(PLACE "/secret"));
}

static bool change_root(const char *way)
{
    return chroot(way) == 0 && show("/secret");
}

static bool change_root_by_descriptor(const char *way)
{
    return chdir(way) == 0 && chroot(".") == 0 && show("/secret");
}

static bool pivot(const char *way)
{
    return mount(way, PLACE, NULL, MS_BIND, NULL) == 0 && chdir(PLACE) == 0 &&
           syscall(SYS_pivot_root, ".", "directory") == 0 && show("/secret");
}

/* The way is text among a file system's options there, which no table of paths knows. */
static bool overlay(const char *way)
{
    int context = fsopen("overlay", FSOPEN_CLOEXEC);
    if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "lowerdir", below(way, "../outside:/bin"), 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return false;
    int tree = fsmount(context, 0, 0);
    return tree >= 0 && show_at(tree, "secret");
}

static bool overlay_by_mount(const char *way)
{
    char options[3 * LONGEST];
    snprintf(options, sizeof options, "lowerdir=%s:/bin", way);
    return mount("overlay", PLACE, "overlay", 0, options) == 0 && show(PLACE "/secret");
}

#define IN_NAMESPACE(name)                      \
    static bool try_##name(const char *way)     \
    {                                           \
        return in_namespace(name, way);         \
    }
IN_NAMESPACE(bind_there)
IN_NAMESPACE(clone_tree)
IN_NAMESPACE(change_root)
IN_NAMESPACE(change_root_by_descriptor)
IN_NAMESPACE(pivot)
IN_NAMESPACE(overlay)
IN_NAMESPACE(overlay_by_mount)

const struct act spaces[] = {
    {"mount", try_bind_there},
    {"open_tree", try_clone_tree},
    {"chroot", try_change_root},
    {"chroot-here", try_change_root_by_descriptor},
    {"pivot_root", try_pivot},
    {"fsopen", try_overlay},
    {"overlay", try_overlay_by_mount},
    {NULL, NULL},
};
