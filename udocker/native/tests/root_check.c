/* The rules of root/root.h, asked one after the other.  Wrong answers are told; the exit status is how many those were. */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../root/root.h"

static int wrong;

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            printf("%d: %s\n", __LINE__, #condition); \
            wrong++; \
        } \
    } while (0)

static int memory_read(void *context, void *target, uint64_t address, size_t size)
{
    (void)context;
    if (size == 0)
        return 0;
    if (!address)
        return -EFAULT;
    memcpy(target, (const void *)(uintptr_t)address, size);
    return 0;
}

static int memory_write(void *context, uint64_t address, const void *source, size_t size)
{
    (void)context;
    if (size == 0)
        return 0;
    if (!address)
        return -EFAULT;
    memcpy((void *)(uintptr_t)address, source, size);
    return 0;
}

static const struct root_caller CALLER = {100, 101, memory_read, memory_write, NULL};

static long call(struct root_ids *ids, long number, long a, long b, long c)
{
    long arguments[6] = {a, b, c, 0, 0, 0};
    return root_id_call(ids, &CALLER, number, arguments);
}

static struct root_ids root(void)
{
    struct root_ids ids;
    root_ids_start(&ids, 0, 0);
    return ids;
}

static void check_dropping(void)
{
    struct root_ids ids = root();
    uint32_t real = 9, effective = 9, saved = 9;
    EXPECT(call(&ids, SYS_setresuid, 33, 33, 0) == 0);
    EXPECT(call(&ids, SYS_getresuid, (long)&real, (long)&effective, (long)&saved) == 0);
    EXPECT(real == 33 && effective == 33 && saved == 0);
    EXPECT(call(&ids, SYS_setuid, 7, 0, 0) == -EPERM);
    EXPECT(call(&ids, SYS_setgid, 7, 0, 0) == -EPERM);
    EXPECT(call(&ids, SYS_setresuid, -1, 0, -1) == 0);
    EXPECT(call(&ids, SYS_geteuid, 0, 0, 0) == 0 && root_can(&ids, CAP_SETUID));
    EXPECT(call(&ids, SYS_setgid, 7, 0, 0) == 0 && call(&ids, SYS_getgid, 0, 0, 0) == 7);
    EXPECT(call(&ids, SYS_setuid, 7, 0, 0) == 0);
    EXPECT(call(&ids, SYS_setuid, 0, 0, 0) == -EPERM && call(&ids, SYS_setreuid, 0, -1, 0) == -EPERM);
    EXPECT(call(&ids, SYS_setuid, 7, 0, 0) == 0 && call(&ids, SYS_getuid, 0, 0, 0) == 7);
    EXPECT(!root_can(&ids, CAP_CHOWN) && ids.sets[ROOT_PERMITTED] == 0);
    EXPECT(call(&ids, SYS_setuid, -1, 0, 0) == -EINVAL);
    EXPECT(call(&ids, SYS_getresuid, 0, 0, 0) == -EFAULT);
}

static void check_two(void)
{
    struct root_ids ids = root();
    EXPECT(call(&ids, SYS_setreuid, 5, 6, 0) == 0);
    EXPECT(ids.uid[ROOT_REAL] == 5 && ids.uid[ROOT_EFFECTIVE] == 6 && ids.uid[ROOT_SAVED] == 6);
    EXPECT(call(&ids, SYS_setreuid, 6, 5, 0) == 0 && ids.uid[ROOT_SAVED] == 5);
    EXPECT(call(&ids, SYS_setreuid, -1, 6, 0) == 0 && ids.uid[ROOT_EFFECTIVE] == 6);
    EXPECT(call(&ids, SYS_setreuid, -1, 9, 0) == -EPERM);
    EXPECT(call(&ids, SYS_setregid, 1, 2, 0) == -EPERM && call(&ids, SYS_setregid, -1, 0, 0) == 0);
    EXPECT(call(&ids, SYS_setfsuid, 5, 0, 0) == 6 && call(&ids, SYS_setfsuid, 77, 0, 0) == 5);
    EXPECT(call(&ids, SYS_setfsuid, -1, 0, 0) == 5 && call(&ids, SYS_setfsgid, -1, 0, 0) == 0);
}

static void check_groups(void)
{
    struct root_ids ids = root();
    uint32_t groups[ROOT_GROUPS + 1] = {4, 5, 6}, none = (uint32_t)-1;
    EXPECT(call(&ids, SYS_getgroups, 0, 0, 0) == 0);
    EXPECT(call(&ids, SYS_setgroups, 3, (long)groups, 0) == 0);
    groups[0] = 0;
    EXPECT(call(&ids, SYS_getgroups, 3, (long)groups, 0) == 3 && groups[0] == 4);
    EXPECT(call(&ids, SYS_getgroups, 0, 0, 0) == 3 && call(&ids, SYS_getgroups, 2, (long)groups, 0) == -EINVAL);
    EXPECT(call(&ids, SYS_getgroups, 3, 0, 0) == -EFAULT && call(&ids, SYS_getgroups, -1, 0, 0) == -EINVAL);
    EXPECT(root_in_group(&ids, 6) && root_in_group(&ids, 0) && !root_in_group(&ids, 7));
    EXPECT(call(&ids, SYS_setgroups, ROOT_GROUPS, (long)groups, 0) == 0);
    EXPECT(call(&ids, SYS_setgroups, ROOT_GROUPS + 1, (long)groups, 0) == -EINVAL);
    EXPECT(call(&ids, SYS_setgroups, 1, (long)&none, 0) == -EINVAL && call(&ids, SYS_setgroups, 1, 0, 0) == -EFAULT);
    EXPECT(call(&ids, SYS_setgroups, 0, 0, 0) == 0 && ids.group_count == 0);
    call(&ids, SYS_setuid, 1, 0, 0);
    EXPECT(call(&ids, SYS_setgroups, 0, 0, 0) == -EPERM);
}

static void check_capabilities(void)
{
    struct root_ids ids = root();
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {0};
    EXPECT(call(&ids, SYS_capget, (long)&header, (long)data, 0) == 0);
    EXPECT(data[0].effective == 0xa80425fb && data[0].permitted == 0xa80425fb && data[1].effective == 0);
    header.version = 1;
    EXPECT(call(&ids, SYS_capget, (long)&header, (long)data, 0) == -EINVAL);
    EXPECT(header.version == _LINUX_CAPABILITY_VERSION_3);
    header.pid = 1;
    EXPECT(call(&ids, SYS_capget, (long)&header, (long)data, 0) == ROOT_OTHER);
    EXPECT(call(&ids, SYS_capset, (long)&header, (long)data, 0) == -EPERM);
    header.pid = CALLER.process;
    data[0].effective = 1u << CAP_SYS_ADMIN;
    EXPECT(call(&ids, SYS_capset, (long)&header, (long)data, 0) == -EPERM);
    data[0].permitted = data[0].effective = data[0].inheritable = 1u << CAP_CHOWN | 1u << CAP_SETUID;
    EXPECT(call(&ids, SYS_capset, (long)&header, (long)data, 0) == 0 && root_can(&ids, CAP_CHOWN));
    EXPECT(!root_can(&ids, CAP_SETGID) && call(&ids, SYS_setgid, 5, 0, 0) == -EPERM);
    EXPECT(call(&ids, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN) == 0);
    EXPECT(call(&ids, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL) == -EPERM);
    EXPECT(call(&ids, SYS_prctl, PR_SET_KEEPCAPS, 1, 0) == 0 && call(&ids, SYS_setuid, 8, 0, 0) == 0);
    EXPECT(!root_can(&ids, CAP_CHOWN) && ids.sets[ROOT_PERMITTED] != 0 && ids.sets[ROOT_AMBIENT] == 0);
    EXPECT(call(&ids, SYS_prctl, PR_CAPBSET_READ, CAP_CHOWN, 0) == 1);
    EXPECT(call(&ids, SYS_prctl, PR_CAPBSET_READ, CAP_SYS_ADMIN, 0) == 0);
    EXPECT(call(&ids, SYS_prctl, PR_CAPBSET_READ, 64, 0) == -EINVAL);
    EXPECT(call(&ids, SYS_prctl, PR_CAPBSET_DROP, CAP_CHOWN, 0) == -EPERM);
    EXPECT(call(&ids, SYS_prctl, PR_SET_NAME, 0, 0) == ROOT_OTHER);
    ids = root();
    EXPECT(call(&ids, SYS_prctl, PR_CAPBSET_DROP, CAP_CHOWN, 0) == 0);
    root_ids_exec(&ids, 0100755, 0, 0);
    EXPECT(!root_can(&ids, CAP_CHOWN) && root_can(&ids, CAP_SETUID));
}

static void check_exec(void)
{
    struct root_ids ids = root();
    call(&ids, SYS_setresuid, 0, 5, 0);
    root_ids_exec(&ids, 0100755, 0, 0);
    EXPECT(ids.uid[ROOT_SAVED] == 5 && ids.uid[ROOT_EFFECTIVE] == 5 && !root_can(&ids, CAP_SETUID));
    root_ids_start(&ids, 5, 5);
    root_ids_exec(&ids, 0104755, 0, 0);
    EXPECT(ids.uid[ROOT_REAL] == 5 && ids.uid[ROOT_EFFECTIVE] == 0 && root_can(&ids, CAP_SETUID));
    root_ids_start(&ids, 5, 5);
    root_ids_exec(&ids, 0102755, 0, 42);
    EXPECT(ids.uid[ROOT_EFFECTIVE] == 5 && ids.gid[ROOT_EFFECTIVE] == 42 && !root_can(&ids, CAP_SETUID));
    root_ids_start(&ids, 5, 5);
    call(&ids, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0);
    root_ids_exec(&ids, 0106755, 0, 0);
    EXPECT(ids.uid[ROOT_EFFECTIVE] == 5 && ids.gid[ROOT_EFFECTIVE] == 5);
}

static void check_ids_text(void)
{
    struct root_ids ids = root(), back;
    struct root_host host = {{1000, 0xfffffffe}, {100, 7}}, other;
    char text[ROOT_IDS_TEXT];
    ids.group_count = ROOT_GROUPS;
    for (int i = 0; i < ROOT_GROUPS; i++)
        ids.groups[i] = 0xffffff00 + (uint32_t)i;
    for (int set = 0; set < ROOT_SETS; set++)
        ids.sets[set] = ~0ull - (uint64_t)set;
    for (int role = 0; role < ROOT_ROLES; role++)
        ids.uid[role] = ids.gid[role] = 0xfffffff0 + (uint32_t)role;
    ids.secure = 0xff;
    ids.no_new_privileges = true;
    size_t size = root_ids_write(&ids, &host, text);
    EXPECT(size < sizeof text);
    text[size] = '\0';
    EXPECT(root_ids_read(&back, &other, text) == (int)size);
    EXPECT(memcmp(&ids, &back, sizeof ids) == 0 && memcmp(&host, &other, sizeof host) == 0);
    for (size_t cut = 0; cut < size; cut++) {
        text[cut] = '\0';
        EXPECT(root_ids_read(&back, &other, text) == -EINVAL);
    }
    EXPECT(root_ids_read(&back, &other, "1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,ffffffff,") == -EINVAL);
}

static void check_owner_text(void)
{
    static const char *const bad[] = {"", "1", "1:2", "1:2:3", "1:2:3:", "1:2:8:0", "-1:0:0:0", "1:2:3:4:", "1:2:3:4 ",
                                      "4294967295:0:0:0", "99999999999999999999:0:0:0", "1:2:777777777:0"};
    struct root_owner owner, wide = {0xfffffffe, 0xfffffffe, 0177777, makedev(0xfff, 0xfffff)};
    char text[ROOT_OWNER_TEXT];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT(root_owner_read(&owner, bad[i], strlen(bad[i])) == -EINVAL);
    EXPECT(root_owner_read(&owner, "0:8:102775:0", 12) == 0 && owner.gid == 8 && owner.mode == 0102775);
    size_t size = root_owner_write(&wide, text);
    EXPECT(size == strlen(text) && root_owner_read(&owner, text, size) == 0);
    EXPECT(memcmp(&owner, &wide, sizeof owner) == 0);
}

static void check_modes(void)
{
    EXPECT(root_host_mode(0, false) == 0600 && root_host_mode(0, true) == 0700);
    EXPECT(root_host_mode(04755, false) == 0755 && root_host_mode(02775, true) == 0775);
    EXPECT(root_host_mode(01777, true) == 01777 && root_host_mode(0011, false) == 0711);
}

static void check_stat(void)
{
    const struct root_host host = {{1000, 500}, {100, 50}};
    struct stat info = {.st_mode = S_IFREG | 0600, .st_uid = 1000, .st_gid = 100};
    struct root_statx wide = {.mode = S_IFREG | 0755, .uid = 500, .gid = 9};
    const struct root_owner closed = {7, 8, S_IFREG, 0}, node = {0, 6, S_IFBLK | 0660, makedev(8, 1)};
    root_stat_show(&host, NULL, &info);
    EXPECT(info.st_uid == 0 && info.st_gid == 0 && info.st_mode == (S_IFREG | 0600));
    root_stat_show(&host, &closed, &info);
    EXPECT(info.st_uid == 7 && info.st_gid == 8 && info.st_mode == S_IFREG);
    info.st_mode = S_IFREG | 0640; /* somebody's own since */
    root_stat_show(&host, &closed, &info);
    EXPECT(info.st_mode == (S_IFREG | 0640));
    root_stat_show(&host, &node, &info);
    EXPECT(info.st_mode == (S_IFBLK | 0660) && info.st_rdev == makedev(8, 1));
    root_statx_show(&host, NULL, &wide);
    EXPECT(wide.uid == 0 && wide.gid == 9);
    root_statx_show(&host, &node, &wide);
    EXPECT(wide.mode == (S_IFBLK | 0660) && wide.device_major == 8 && wide.device_minor == 1 && wide.gid == 6);
    EXPECT(sizeof wide == 256);
    wide.size = 1; /* no longer what stands for a device */
    wide.mode = S_IFREG | 0644;
    root_statx_show(&host, &node, &wide);
    EXPECT(wide.mode == (S_IFREG | 0644));
}

static void check_access(void)
{
    struct root_ids ids = root();
    struct stat shown = {.st_mode = S_IFREG | 0640, .st_uid = 5, .st_gid = 6};
    EXPECT(root_access(&ids, &shown, R_OK | W_OK, false) == 0 && root_access(&ids, &shown, X_OK, false) == -EACCES);
    root_ids_start(&ids, 5, 9);
    EXPECT(root_access(&ids, &shown, R_OK | W_OK, true) == 0);
    root_ids_start(&ids, 7, 6);
    EXPECT(root_access(&ids, &shown, R_OK, true) == 0 && root_access(&ids, &shown, W_OK, true) == -EACCES);
    root_ids_start(&ids, 7, 7);
    EXPECT(root_access(&ids, &shown, R_OK, true) == -EACCES && root_access(&ids, &shown, F_OK, true) == 0);
}

static void check_hiding(void)
{
    char names[] = "user.a\0user.udocker.owner\0security.b\0user.udocker.\0user.udocker";
    static const char left[] = "user.a\0security.b\0user.udocker";
    size_t size = root_attributes_hide(names, sizeof names);
    EXPECT(size == sizeof left && memcmp(names, left, size) == 0);
    EXPECT(root_attributes_hide(names, 0) == 0);
}

/* On a file of this directory, where the file system takes attributes. */
static void check_files(void)
{
    struct root_ids ids = root(), other;
    const struct root_host host = {{getuid(), getuid()}, {getgid(), getgid()}};
    struct stat info;
    char text[ROOT_OWNER_TEXT];
    int file = open("file", O_CREAT | O_RDWR, 0644), path = open("file", O_PATH);
    fchmod(file, 0644);
    root_ids_start(&other, 7, 7);
    EXPECT(root_file_stat(&host, path, &info) == 0 && info.st_uid == 0);
    EXPECT(root_file_chown(&ids, &host, path, 7, (uint32_t)-1) == 0);
    EXPECT(root_file_stat(&host, path, &info) == 0 && info.st_uid == 7 && info.st_gid == 0);
    EXPECT(root_file_chown(&other, &host, path, 8, (uint32_t)-1) == -EPERM);
    EXPECT(root_file_chown(&other, &host, path, (uint32_t)-1, 7) == 0);
    EXPECT(root_file_chmod(&other, &host, path, 04000) == 0);
    EXPECT(root_file_stat(&host, path, &info) == 0 && info.st_mode == (S_IFREG | 04000) && info.st_gid == 7);
    EXPECT(fstat(file, &info) == 0 && info.st_mode == (S_IFREG | 0600));
    EXPECT(root_file_chown(&ids, &host, path, 0, 0) == 0); /* which takes set-user-id */
    EXPECT(root_file_stat(&host, path, &info) == 0 && info.st_mode == S_IFREG && info.st_uid == 0);
    EXPECT(root_file_chmod(&other, &host, path, 0644) == -EPERM);
    EXPECT(root_file_chmod(&ids, &host, path, 0644) == 0);
    EXPECT(fgetxattr(file, ROOT_ATTRIBUTE, text, sizeof text) == -1 && errno == ENODATA);
    root_file_made(&other, &host, path, S_IFCHR | 0200, makedev(1, 3));
    EXPECT(root_file_stat(&host, path, &info) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3));
    EXPECT(root_file_stat(&host, -1, &info) == -EBADF);
    unlink("file");
    close(path);
    close(file);
}

/* With permissions that nobody gave it by us, and which forbid to set attributes. */
static void check_closed_file(void)
{
    struct root_ids ids = root();
    const struct root_host host = {{getuid(), getuid()}, {getgid(), getgid()}};
    struct stat info;
    int file = open("closed", O_CREAT | O_RDWR, 0644);
    fchmod(file, 0444);
    EXPECT(root_file_chown(&ids, &host, file, 3, 4) == 0);
    EXPECT(root_file_stat(&host, file, &info) == 0);
    EXPECT(info.st_uid == 3 && info.st_gid == 4 && info.st_mode == (S_IFREG | 0444));
    unlink("closed");
    close(file);
}

int main(void)
{
    check_dropping();
    check_two();
    check_groups();
    check_capabilities();
    check_exec();
    check_ids_text();
    check_owner_text();
    check_modes();
    check_stat();
    check_access();
    check_hiding();
    check_files();
    check_closed_file();
    return wrong;
}
