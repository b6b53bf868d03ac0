/* Root, and other users than the caller, as a program of the container sees them though the kernel does not.
 *
 * Two things are kept: who a process is (struct root_ids, ids.c and capabilities.c: the rules of credentials(7) and
 * capabilities(7)), and whose a file is (struct root_owner, owner.c and files.c), which is written down in an extended attribute
 * of the file itself.  Nothing here knows how a call was intercepted, so that every engine which intercepts calls
 * shares it.  No C library, no allocation, no state but the caller's.  Functions return 0 or a count, or -errno.
 */
#ifndef ROOT_H
#define ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum { ROOT_GROUPS = 64, ROOT_IDS_TEXT = 1280, ROOT_OWNER_TEXT = 64 };

/* Of a process's four numbers: credentials(7). */
enum root_role { ROOT_REAL, ROOT_EFFECTIVE, ROOT_SAVED, ROOT_FILES, ROOT_ROLES };

enum root_set { ROOT_CAN, ROOT_PERMITTED, ROOT_INHERITABLE, ROOT_AMBIENT, ROOT_BOUNDING, ROOT_SETS };

/* Who a process is.  `sets` are bits of capabilities, ROOT_CAN the effective ones; `secure` are the securebits. */
struct root_ids {
    uint32_t uid[ROOT_ROLES], gid[ROOT_ROLES];
    uint64_t sets[ROOT_SETS];
    uint32_t secure;
    bool no_new_privileges; /* the program has asked for that itself */
    uint32_t group_count;
    uint32_t groups[ROOT_GROUPS];
};

/* Whose files are root's to the container, unless they say otherwise: the caller's, and those of whoever owns its root
 * directory, as in a store of the site's. */
struct root_host {
    uint32_t uid[2], gid[2];
};

/* Who calls, and how the memory is reached that arguments point to: 0 or -EFAULT. */
struct root_caller {
    int process, thread;
    int (*read)(void *context, void *target, uint64_t address, size_t size);
    int (*write)(void *context, uint64_t address, const void *source, size_t size);
    void *context;
};

/* ---- ids.c ---- */

/* As a process begins that nobody has changed: with the capabilities that docker gives to root, or none. */
void root_ids_start(struct root_ids *ids, uint32_t uid, uint32_t gid);

/* What execve(2) makes of it, where the program's file has `mode` and these owners. */
void root_ids_exec(struct root_ids *ids, uint32_t mode, uint32_t uid, uint32_t gid);

/* For the next engine of the process, which reads it back: a line without NUL, its length below ROOT_IDS_TEXT. */
size_t root_ids_write(const struct root_ids *ids, const struct root_host *host, char text[ROOT_IDS_TEXT]);
/* How much of `text` that was, or -EINVAL. */
int root_ids_read(struct root_ids *ids, struct root_host *host, const char *text);

bool root_can(const struct root_ids *ids, int capability);
bool root_in_group(const struct root_ids *ids, uint32_t gid);

/* Every call that asks or changes who the process is.  ROOT_OTHER where this one is the kernel's affair after all. */
enum { ROOT_OTHER = -5100 };
extern const short root_id_calls[];
extern const size_t root_id_call_count;
long root_id_call(struct root_ids *ids, const struct root_caller *caller, long number, const long *arguments);

/* ---- capabilities.c: capget(2), capset(2), prctl(2) as far as it is about them ---- */

long root_capability_call(struct root_ids *ids, const struct root_caller *caller, long number, const long *arguments);
/* After the user numbers were `old`. */
void root_capabilities_follow(struct root_ids *ids, const uint32_t old[ROOT_ROLES]);

/* ---- owner.c ---- */

/* Where it is written: no name that the program may see or set; root_attribute_is_hidden tells. */
#define ROOT_ATTRIBUTE "user.udocker.owner"

/* What a file has beside what the host keeps of it.  `mode` is what chmod(2) or mknod(2) gave, with the type of a device, 0
 * where the host's is right; `device` is a device's number. */
struct root_owner {
    uint32_t uid, gid, mode;
    uint64_t device;
};

bool root_attribute_is_hidden(const char *name);
/* Takes the hidden names out of a list as listxattr(2) gives it; returns its new size. */
size_t root_attributes_hide(char *names, size_t size);

/* The attribute's text.  One that makes no sense is none: -EINVAL. */
int root_owner_read(struct root_owner *owner, const char *text, size_t size);
size_t root_owner_write(const struct root_owner *owner, char text[ROOT_OWNER_TEXT]);

/* The permissions that a file of the host gets in place of `mode`: no program lends the caller's rights to others, and the
 * caller, who is to be root, is not locked out. */
uint32_t root_host_mode(uint32_t mode, bool is_directory);

/* What stat(2) answers of a file: `info` is the host's before, and `owner` NULL where nothing is written down. */
void root_stat_show(const struct root_host *host, const struct root_owner *owner, struct stat *info);
/* The same of statx(2), whose structure not every C library has. */
struct root_statx {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, spare;
    uint64_t inode, size, blocks, known_attributes;
    char times[64];
    uint32_t device_major, device_minor, file_system[2];
    char rest[112];
};
void root_statx_show(const struct root_host *host, const struct root_owner *owner, struct root_statx *info);

/* What access(2) answers about what stat shows, by the real or the effective numbers. */
int root_access(const struct root_ids *ids, const struct stat *shown, int wanted, bool effective);

/* ---- files.c: calls on a file of the host, by a name of it which may be one of /proc/self/fd.  A link at its end is followed. ---- */

/* fstat(2) of a descriptor that O_PATH may have opened. */
long root_file_stat(const struct root_host *host, long file, struct stat *info);
long root_file_statx(const struct root_host *host, long file, unsigned flags, unsigned mask,
                     struct root_statx *info);
/* Number -1: as it is.  What cannot be written down is forgotten, and no error. */
long root_file_chown(const struct root_ids *ids, const struct root_host *host, long file, uint32_t uid, uint32_t gid);
long root_file_chmod(const struct root_ids *ids, const struct root_host *host, long file, uint32_t mode);

/* Permissions that somebody gave a file outside, or an engine that does not emulate, and which shut out the caller though not root:
 * opens it to the caller, and writes the permissions down.  False where there is nothing to open. */
bool root_file_unlock(const struct root_ids *ids, const struct root_host *host, long file);

/* A new file: the permissions to make it with, and whether it has to be told afterwards whose it is. */
uint32_t root_new_mode(uint32_t mode, bool is_directory);
bool root_new_is_plain(const struct root_ids *ids, uint32_t mode, bool is_directory);
/* `mode` is the one that was asked for, with the type of a device, whose number is `device`. */
void root_file_made(const struct root_ids *ids, const struct root_host *host, long file, uint32_t mode, uint64_t device);

#endif
