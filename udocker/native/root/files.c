/* Whose a file is, read from the file and written to it. */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>

#include "../path/proc.h"
#include "../path/sys.h"
#include "root.h"

/* A file that is open in some way, and what the host says of it. */
struct file {
    char link[PROC_FILE_SIZE]; /* a name of it, which O_PATH suffices for */
    struct stat info;
    struct root_owner owner;
    bool has_owner;
};

static bool is_own(const struct root_host *host, uint32_t uid)
{
    return uid == host->uid[0] || uid == host->uid[1];
}

/* Nothing else can carry such an attribute: xattr(7). */
static bool can_carry(uint32_t mode)
{
    return S_ISREG(mode) || S_ISDIR(mode);
}

static bool owner_load(const struct root_host *host, const char *link, uint32_t mode, uint32_t uid,
                       struct root_owner *owner)
{
    char text[ROOT_OWNER_TEXT];
    if (!can_carry(mode) || !is_own(host, uid))
        return false;
    long size = sys_call4(SYS_getxattr, link, ROOT_ATTRIBUTE, text, sizeof text);
    return size > 0 && root_owner_read(owner, text, (size_t)size) == 0;
}

static long file_look(struct file *file, const struct root_host *host, long number)
{
    long result = sys_call2(SYS_fstat, number, &file->info);
    if (result < 0)
        return result;
    proc_file(file->link, number);
    file->has_owner = owner_load(host, file->link, file->info.st_mode, file->info.st_uid, &file->owner);
    return 0;
}

static void file_show(const struct file *file, const struct root_host *host, struct stat *shown)
{
    *shown = file->info;
    root_stat_show(host, file->has_owner ? &file->owner : NULL, shown);
}

long root_file_stat(const struct root_host *host, long number, struct stat *info)
{
    struct file file;
    long result = file_look(&file, host, number);
    if (result == 0)
        file_show(&file, host, info);
    return result;
}

long root_file_statx(const struct root_host *host, long number, unsigned flags, unsigned mask,
                     struct root_statx *info)
{
    enum { NEEDED = 0x1 | 0x2 | 0x8 | 0x10 | 0x200 /* STATX_TYPE, _MODE, _UID, _GID, _SIZE */ };
    char link[PROC_FILE_SIZE];
    struct root_owner owner;
    long result = sys_call5(SYS_statx, number, "", flags | AT_EMPTY_PATH, mask | NEEDED, info);
    if (result < 0)
        return result;
    proc_file(link, number);
    bool has_owner = owner_load(host, link, info->mode, info->uid, &owner);
    root_statx_show(host, has_owner ? &owner : NULL, info);
    return 0;
}

/* ---- changes ---- */

/* The file system has no such attributes, or none for this file. */
static bool is_forgotten(long result)
{
    return result == -EOPNOTSUPP || result == -EPERM || result == -ENODATA || result == -ENOSYS;
}

static long attribute_set(const char *link, const struct root_owner *owner)
{
    char text[ROOT_OWNER_TEXT];
    if (owner->uid == 0 && owner->gid == 0 && owner->mode == 0)
        return sys_call2(SYS_removexattr, link, ROOT_ATTRIBUTE);
    size_t size = root_owner_write(owner, text);
    return sys_call5(SYS_setxattr, link, ROOT_ATTRIBUTE, text, size, 0);
}

static long owner_store(const struct file *file, const struct root_owner *owner)
{
    if (!can_carry(file->info.st_mode) || (!file->has_owner && owner->uid == 0 && owner->gid == 0 && owner->mode == 0))
        return 0;
    long result = attribute_set(file->link, owner);
    if (result == -EACCES) {
        /* Permissions that somebody else than we gave it, and who may not write may not set attributes. */
        long opened = sys_call3(SYS_fchmodat, AT_FDCWD, file->link,
                                root_host_mode(file->info.st_mode & 07777, S_ISDIR(file->info.st_mode)));
        result = opened < 0 ? opened : attribute_set(file->link, owner);
    }
    return is_forgotten(result) ? 0 : result;
}

/* What has to be written down of a mode, which the host's permissions do not tell; 0 for nothing. */
static uint32_t mode_to_keep(uint32_t mode, uint32_t type)
{
    if (S_ISCHR(mode) || S_ISBLK(mode))
        return mode;
    return root_host_mode(mode & 07777, S_ISDIR(type)) == (mode & 07777) ? 0 : (type & S_IFMT) | (mode & 07777);
}

static bool may_chown(const struct root_ids *ids, const struct stat *shown, uint32_t uid, uint32_t gid)
{
    if (root_can(ids, CAP_CHOWN))
        return true;
    if (ids->uid[ROOT_FILES] != shown->st_uid || uid != shown->st_uid)
        return uid == shown->st_uid && gid == shown->st_gid && ids->uid[ROOT_FILES] == shown->st_uid;
    return gid == shown->st_gid || root_in_group(ids, gid);
}

long root_file_chown(const struct root_ids *ids, const struct root_host *host, long number, uint32_t uid, uint32_t gid)
{
    const uint32_t same = (uint32_t)-1;
    struct file file;
    struct stat shown;
    long result = file_look(&file, host, number);
    if (result < 0)
        return result;
    file_show(&file, host, &shown);
    bool changes = (uid != same && uid != shown.st_uid) || (gid != same && gid != shown.st_gid);
    uid = uid == same ? shown.st_uid : uid;
    gid = gid == same ? shown.st_gid : gid;
    if (!is_own(host, file.info.st_uid))
        return changes ? -EPERM : 0;
    if (changes && !may_chown(ids, &shown, uid, gid))
        return -EPERM;
    /* The kernel notes the time, or says that nothing here may be changed. */
    result = sys_call5(SYS_fchownat, AT_FDCWD, file.link, same, file.info.st_gid, 0);
    if (result < 0)
        return result;
    uint32_t mode = shown.st_mode;
    if (S_ISREG(mode)) /* chown(2): a program for somebody else must not lend him our rights */
        mode &= mode & S_IXGRP ? ~(uint32_t)(S_ISUID | S_ISGID) : ~(uint32_t)S_ISUID;
    struct root_owner owner = {uid, gid, mode_to_keep(mode, file.info.st_mode), file.has_owner ? file.owner.device : 0};
    return owner_store(&file, &owner);
}

long root_file_chmod(const struct root_ids *ids, const struct root_host *host, long number, uint32_t mode)
{
    struct file file;
    struct stat shown;
    long result = file_look(&file, host, number);
    if (result < 0)
        return result;
    file_show(&file, host, &shown);
    bool is_directory = S_ISDIR(file.info.st_mode);
    mode &= 07777;
    if (!is_own(host, file.info.st_uid))
        return (shown.st_mode & 07777) == mode ? 0 : sys_call3(SYS_fchmodat, AT_FDCWD, file.link, mode & 01777);
    if (ids->uid[ROOT_FILES] != shown.st_uid && !root_can(ids, CAP_FOWNER))
        return -EPERM;
    if (!is_directory && !root_in_group(ids, shown.st_gid) && !root_can(ids, CAP_FSETID))
        mode &= ~(uint32_t)S_ISGID;
    result = sys_call3(SYS_fchmodat, AT_FDCWD, file.link, root_host_mode(mode, is_directory));
    if (result < 0)
        return result;
    mode |= shown.st_mode & S_IFMT;
    struct root_owner owner = {shown.st_uid, shown.st_gid, mode_to_keep(mode, file.info.st_mode),
                               file.has_owner ? file.owner.device : 0};
    return owner_store(&file, &owner);
}

bool root_file_unlock(const struct root_ids *ids, const struct root_host *host, long number)
{
    struct file file;
    if (!root_can(ids, CAP_DAC_OVERRIDE) || file_look(&file, host, number) < 0 || !is_own(host, file.info.st_uid))
        return false;
    uint32_t mode = file.info.st_mode & 07777, open = root_host_mode(mode, S_ISDIR(file.info.st_mode));
    if (mode == open || !can_carry(file.info.st_mode) || sys_call3(SYS_fchmodat, AT_FDCWD, file.link, open) < 0)
        return false;
    struct root_owner owner = file.has_owner ? file.owner : (struct root_owner){0, 0, 0, 0};
    owner.mode = mode_to_keep(mode, file.info.st_mode);
    owner_store(&file, &owner);
    return true;
}

/* ---- new files ---- */

uint32_t root_new_mode(uint32_t mode, bool is_directory)
{
    return (mode & 01777) | (is_directory ? 0700 : 0600);
}

bool root_new_is_plain(const struct root_ids *ids, uint32_t mode, bool is_directory)
{
    return ids->uid[ROOT_FILES] == 0 && ids->gid[ROOT_FILES] == 0 &&
           root_new_mode(mode, is_directory) == (mode & 07777);
}

void root_file_made(const struct root_ids *ids, const struct root_host *host, long number, uint32_t mode, uint64_t device)
{
    struct file file;
    if (file_look(&file, host, number) < 0)
        return;
    /* What the umask took is missing in the host's permissions. */
    uint32_t given = (file.info.st_mode & mode & 0777) | (mode & (S_ISDIR(file.info.st_mode) ? 01000 : 07000));
    bool is_node = S_ISCHR(mode) || S_ISBLK(mode);
    struct root_owner owner = {ids->uid[ROOT_FILES], ids->gid[ROOT_FILES],
                               mode_to_keep(is_node ? (mode & S_IFMT) | given : given, file.info.st_mode),
                               is_node ? device : 0};
    owner_store(&file, &owner);
}
