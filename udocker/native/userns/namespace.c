/* The user and mount namespaces, and the reasons why a host refuses them. */

#include "userns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#define OBJECT "user namespace"

/* The number in a file of /proc/sys, or -1 where there is none. */
static long setting_read(const char *path)
{
    char text[32];
    OWNED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t length = read(fd, text, sizeof text - 1);
    if (length <= 0)
        return -1;
    text[length] = '\0';
    return strtol(text, NULL, 10);
}

/* Says why the kernel refused, as far as its settings tell. */
static int namespace_refused(const char *step, int error)
{
    char cause[160];
    if (setting_read("/proc/sys/user/max_user_namespaces") == 0)
        report_line(OBJECT, "switched off: /proc/sys/user/max_user_namespaces is 0",
                    "ask the administrator to raise user.max_user_namespaces");
    else if (setting_read("/proc/sys/kernel/unprivileged_userns_clone") == 0 && error == EPERM)
        report_line(OBJECT, "switched off: /proc/sys/kernel/unprivileged_userns_clone is 0",
                    "ask the administrator to set kernel.unprivileged_userns_clone=1");
    else if (setting_read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1
             && (error == EPERM || error == EACCES))
        report_line(OBJECT, "restricted by AppArmor: kernel.apparmor_restrict_unprivileged_userns is 1",
                    "ask the administrator for an AppArmor profile with userns for udocker-userns");
    else if (error == ENOSPC || error == EUSERS)
        report_line(OBJECT,
                    "too many of them: user.max_user_namespaces or user.max_mnt_namespaces is reached",
                    "or they are nested too deeply; ask the administrator to raise the limit");
    else if (error == ENOSYS || error == EINVAL)
        report_line(OBJECT, "this kernel has none, or has them switched off",
                    "RHEL 7 needs user_namespace.enable=1");
    else {
        snprintf(cause, sizeof cause, "%s: %s", step, strerror(error));
        report_line(OBJECT, cause, "a sandbox, a container or a chroot around this process may forbid it");
    }
    return -error;
}

static int text_write(int directory, const char *name, const char *text)
{
    OWNED_FD fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

static int map_write(int self, const char *name, unsigned inside, unsigned outside)
{
    char text[64];
    snprintf(text, sizeof text, "%u %u 1\n", inside, outside);
    int result = text_write(self, name, text);
    return result < 0 ? namespace_refused(name, -result) : 0;
}

/* Enters new namespaces where the caller is uid and gid.  Without help from a set-user-ID program only
 * the caller's own ids can be mapped, and its group only after setgroups(2) is given up for good:
 * user_namespaces(7), sections "Defining user and group ID mappings" and "/proc/[pid]/setgroups".
 */
static int namespaces_make(int self, int kinds, uid_t uid, gid_t gid)
{
    uid_t outer_uid = geteuid();
    gid_t outer_gid = getegid();
    if (unshare(kinds) < 0)
        return namespace_refused("unshare", errno);
    if (self < 0)
        return namespace_refused("/proc/self", ENOENT);
    int result = text_write(self, "setgroups", "deny");
    if (result < 0 && result != -ENOENT) /* the file came with 3.19, and with it the need */
        return namespace_refused("setgroups", -result);
    if ((result = map_write(self, "uid_map", uid, outer_uid)) < 0)
        return result;
    return map_write(self, "gid_map", gid, outer_gid);
}

int namespace_map(int self, uid_t uid, gid_t gid)
{
    return namespaces_make(self, CLONE_NEWUSER, uid, gid);
}

/* No pid namespace: the program keeps its parent, its pid and with them the batch system's control. */
int namespace_enter(uid_t uid, gid_t gid)
{
    OWNED_FD self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int result = namespaces_make(self, CLONE_NEWUSER | CLONE_NEWNS, uid, gid);
    if (result < 0)
        return result;
    /* Slave, not private: nothing of ours reaches the host, but what its automounter mounts and
     * unmounts later still reaches us (mount_namespaces(7), section SHARED SUBTREES). */
    if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        return namespace_refused("mount", errno);
    return 0;
}

/* What docker leaves to a container's root.  CAP_SYS_ADMIN is not among them, so that the program can
 * neither make a read-only bind writable nor uncover what a bind hides. */
static const int KEPT[] = {
    CAP_AUDIT_WRITE, CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
    CAP_KILL,        CAP_MKNOD,   CAP_NET_RAW,      CAP_SETGID, CAP_NET_BIND_SERVICE,
    CAP_SETFCAP,     CAP_SETPCAP, CAP_SETUID,       CAP_SYS_CHROOT,
};

static bool capability_kept(int capability)
{
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++)
        if (KEPT[i] == capability)
            return true;
    return false;
}

/* Bounds what execve(2) gives to uid 0; any other uid gets nothing there (capabilities(7)). */
int namespace_drop_capabilities(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (!capability_kept(capability) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            report_error("capabilities", errno, NULL);
            return -errno;
        }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        report_error("no_new_privs", errno, NULL);
        return -errno;
    }
    return 0;
}
