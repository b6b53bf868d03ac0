/* Calls of 32-bit programs about files and programs, whose structures or arguments are narrower than those of 64 bits. */

#include <errno.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>

#include "i386.h"

enum {
    STAT = 106,
    LSTAT = 107,
    FSTAT = 108, /* the ones with narrow numbers */
    STATFS64 = 268,
    TRUNCATE64 = 193,
    UTIME = 30,
    UTIMENSAT = 320,
    SMALL_VECTOR = 512, /* of a program's arguments, kept on the stack */
    SET_FLAGS = 0x40046602, /* FS_IOC32_SETFLAGS */
    NO_ID = 0xffff,
};

/* ---- stat(2) and statfs(2) ---- */

struct stat_narrow {
    uint32_t device, inode;
    uint16_t mode, links, user, group;
    uint32_t kind, size, block, blocks, access, access_part, change, change_part, status, status_part, unused[2];
};

struct stat_wide { /* struct stat64 */
    uint64_t device;
    uint32_t unused, inode_part, mode, links, user, group;
    uint64_t kind;
    uint32_t unused_too;
    int64_t size;
    uint32_t block;
    uint64_t blocks;
    uint32_t access, access_part, change, change_part, status, status_part;
    uint64_t inode;
} __attribute__((packed));

_Static_assert(sizeof(struct stat_narrow) == 64 && sizeof(struct stat_wide) == 96, "as the kernel has them");

static uint16_t short_id(uint32_t id)
{
    return id > NO_ID ? 65534 /* overflowuid: proc(5) */ : (uint16_t)id;
}

static int narrow_give(void *target, const struct stat *info)
{
    struct stat_narrow narrow = {
        .device = (uint32_t)info->st_dev,
        .inode = (uint32_t)info->st_ino,
        .mode = (uint16_t)info->st_mode,
        .links = (uint16_t)info->st_nlink,
        .user = short_id(info->st_uid),
        .group = short_id(info->st_gid),
        .kind = (uint32_t)info->st_rdev,
        .size = (uint32_t)info->st_size,
        .block = (uint32_t)info->st_blksize,
        .blocks = (uint32_t)info->st_blocks,
        .access = (uint32_t)info->st_atim.tv_sec,
        .access_part = (uint32_t)info->st_atim.tv_nsec,
        .change = (uint32_t)info->st_mtim.tv_sec,
        .change_part = (uint32_t)info->st_mtim.tv_nsec,
        .status = (uint32_t)info->st_ctim.tv_sec,
        .status_part = (uint32_t)info->st_ctim.tv_nsec,
    };
    if (narrow.inode != info->st_ino || narrow.links != info->st_nlink || info->st_size > INT32_MAX)
        return -EOVERFLOW;
    return user_write(target, &narrow, sizeof narrow);
}

static int wide_give(void *target, const struct stat *info)
{
    struct stat_wide wide = {
        .device = info->st_dev,
        .inode_part = (uint32_t)info->st_ino,
        .mode = info->st_mode,
        .links = (uint32_t)info->st_nlink,
        .user = info->st_uid,
        .group = info->st_gid,
        .kind = info->st_rdev,
        .size = info->st_size,
        .block = (uint32_t)info->st_blksize,
        .blocks = (uint64_t)info->st_blocks,
        .access = (uint32_t)info->st_atim.tv_sec,
        .access_part = (uint32_t)info->st_atim.tv_nsec,
        .change = (uint32_t)info->st_mtim.tv_sec,
        .change_part = (uint32_t)info->st_mtim.tv_nsec,
        .status = (uint32_t)info->st_ctim.tv_sec,
        .status_part = (uint32_t)info->st_ctim.tv_nsec,
        .inode = info->st_ino,
    };
    return user_write(target, &wide, sizeof wide);
}

I386_MAKES(i386_stat)
{
    struct stat info;
    long arguments[6];
    int place = entry->twin == SYS_newfstatat ? 2 : 1;
    for (int i = 0; i < 6; i++)
        arguments[i] = call->arguments[i];
    void *target = (void *)arguments[place];
    arguments[place] = (long)&info;
    long result = i386_as(call, entry->twin, arguments);
    if (result < 0)
        return result;
    bool narrow = entry->number == STAT || entry->number == LSTAT || entry->number == FSTAT;
    return narrow ? narrow_give(target, &info) : wide_give(target, &info);
}

struct statfs_narrow {
    uint32_t kind, block, blocks, free, available, files, files_free, id[2], name, part, flags, unused[4];
};

struct statfs_wide {
    uint32_t kind, block;
    uint64_t blocks, free, available, files, files_free;
    uint32_t id[2], name, part, flags, unused[4];
} __attribute__((packed));

enum { PADDED = 88 /* as large as some programs take the latter */ };

static bool is_wide(uint64_t number)
{
    return number > UINT32_MAX && number != UINT64_MAX;
}

static int statfs_narrow_give(void *target, const struct statfs *info)
{
    struct statfs_narrow narrow = {
        .kind = (uint32_t)info->f_type,
        .block = (uint32_t)info->f_bsize,
        .blocks = (uint32_t)info->f_blocks,
        .free = (uint32_t)info->f_bfree,
        .available = (uint32_t)info->f_bavail,
        .files = (uint32_t)info->f_files,
        .files_free = (uint32_t)info->f_ffree,
        .name = (uint32_t)info->f_namelen,
        .part = (uint32_t)info->f_frsize,
        .flags = (uint32_t)info->f_flags,
    };
    if (is_wide(info->f_blocks) || is_wide(info->f_bfree) || is_wide(info->f_bavail) || is_wide(info->f_files) ||
        is_wide(info->f_ffree))
        return -EOVERFLOW;
    bytes_copy((char *)narrow.id, (const char *)&info->f_fsid, sizeof narrow.id);
    return user_write(target, &narrow, sizeof narrow);
}

static int statfs_wide_give(void *target, const struct statfs *info)
{
    struct statfs_wide wide = {
        .kind = (uint32_t)info->f_type,
        .block = (uint32_t)info->f_bsize,
        .blocks = info->f_blocks,
        .free = info->f_bfree,
        .available = info->f_bavail,
        .files = info->f_files,
        .files_free = info->f_ffree,
        .name = (uint32_t)info->f_namelen,
        .part = (uint32_t)info->f_frsize,
        .flags = (uint32_t)info->f_flags,
    };
    _Static_assert(sizeof wide == 84, "as the kernel has it");
    bytes_copy((char *)wide.id, (const char *)&info->f_fsid, sizeof wide.id);
    return user_write(target, &wide, sizeof wide);
}

I386_MAKES(i386_statfs)
{
    struct statfs info;
    const long *a = call->arguments;
    bool wide = entry->number == STATFS64;
    if (wide && a[1] != sizeof(struct statfs_wide) && a[1] != PADDED)
        return -EINVAL;
    const long arguments[6] = {a[0], (long)&info};
    long result = i386_as(call, entry->twin, arguments);
    if (result < 0)
        return result;
    return wide ? statfs_wide_give((void *)a[2], &info) : statfs_narrow_give((void *)a[1], &info);
}

/* ---- times ---- */

/* Two times of seconds and parts; utime(2) has seconds only. */
I386_MAKES(i386_times)
{
    int place = entry->twin == SYS_futimesat ? 2 : entry->twin == SYS_utimensat ? 2 : 1;
    size_t count = entry->number == UTIME ? 2 : 4;
    int32_t narrow[4];
    long wide[4], arguments[6];
    for (int i = 0; i < 6; i++)
        arguments[i] = call->arguments[i];
    if (arguments[place]) {
        int result = user_read(narrow, (const void *)arguments[place], count * sizeof *narrow);
        if (result < 0)
            return result;
        for (size_t i = 0; i < count; i++)
            wide[i] = narrow[i];
        arguments[place] = (long)wide;
    }
    return i386_as(call, entry->twin, arguments);
}

/* ---- others ---- */

I386_MAKES(i386_truncate)
{
    const long *a = call->arguments;
    long size = entry->number == TRUNCATE64 ? a[1] | a[2] << 32 : (int32_t)a[1];
    const long arguments[6] = {a[0], size};
    return i386_as(call, entry->twin, arguments);
}

I386_MAKES(i386_fanotify)
{
    const long *a = call->arguments;
    const long arguments[6] = {a[0], a[1], a[2] | a[3] << 32, a[4], a[5]};
    return i386_as(call, entry->twin, arguments);
}

/* The requests that change what a descriptor is open on: filter.c. */
I386_MAKES(i386_ioctl)
{
    (void)entry;
    bool changes = call->arguments[1] == SET_FLAGS || call->arguments[1] == (long)FS_IOC_FSSETXATTR;
    return changes && hold_is_read_only((int)call->arguments[0]) ? -EROFS : i386_raw(call->number, call->arguments);
}

/* Users and groups of 16 bits, of which the greatest means none: chown(2), getuid(2). */
I386_MAKES(i386_short_ids)
{
    long arguments[6] = {0};
    bool is_path = entry->twin == SYS_chown || entry->twin == SYS_lchown || entry->twin == SYS_fchown;
    for (int i = 0; i < 3; i++) {
        uint16_t id = (uint16_t)call->arguments[i];
        arguments[i] = is_path && i == 0 ? call->arguments[i] : id == NO_ID ? 0xffffffffl : id;
    }
    return i386_as(call, entry->twin, arguments);
}

I386_MAKES(i386_short_answer)
{
    return short_id((uint32_t)i386_as(call, entry->twin, call->arguments));
}

/* ---- execve(2) ---- */

static long vector_count(uintptr_t vector)
{
    for (long count = 0; vector; count++) {
        uint32_t one;
        if (user_read(&one, (const void *)(vector + (size_t)count * sizeof one), sizeof one) < 0)
            return -EFAULT;
        if (!one)
            return count;
    }
    return 0;
}

static int vector_widen(char **wide, uintptr_t vector, long count)
{
    for (long i = 0; i < count; i++) {
        uint32_t one;
        if (user_read(&one, (const void *)(vector + (size_t)i * sizeof one), sizeof one) < 0)
            return -EFAULT;
        wide[i] = (char *)(uintptr_t)one;
    }
    wide[count] = NULL;
    return 0;
}

static long exec_with(const struct i386_entry *entry, struct trapped *call, char **room, long count, long most)
{
    int place = entry->twin == SYS_execve ? 1 : 2;
    long arguments[6];
    for (int i = 0; i < 6; i++)
        arguments[i] = call->arguments[i];
    int result = vector_widen(room, (uintptr_t)arguments[place], count);
    if (result == 0)
        result = vector_widen(room + count + 1, (uintptr_t)arguments[place + 1], most);
    arguments[place] = (long)room;
    arguments[place + 1] = (long)(room + count + 1);
    return result < 0 ? result : i386_as(call, entry->twin, arguments);
}

I386_MAKES(i386_exec)
{
    int place = entry->twin == SYS_execve ? 1 : 2;
    long count = vector_count((uintptr_t)call->arguments[place]);
    long most = vector_count((uintptr_t)call->arguments[place + 1]);
    char *small[SMALL_VECTOR];
    if (count < 0 || most < 0)
        return -EFAULT;
    if (count + most + 2 <= SMALL_VECTOR)
        return exec_with(entry, call, small, count, most);
    size_t size = (size_t)(count + most + 2) * sizeof *small;
    long room = sys_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room < 0 && room > -4096)
        return room;
    long result = exec_with(entry, call, (char **)room, count, most);
    sys_call2(SYS_munmap, room, size);
    return result;
}

/* ---- brk(2), where the kernel could not be told of the program's heap: PR_SET_MM_MAP of prctl(2) ---- */

static struct {
    uintptr_t start, end, mapped; /* mapped up to there */
    int lock;                     /* the process that holds it: a child must not wait for its parent's thread */
} heap;

enum { PAGE = 4096, HEAP_STEP = 32 * PAGE };

void i386_heap_begin(uintptr_t start)
{
    heap.start = heap.end = heap.mapped = start;
}

static bool heap_grow(uintptr_t end)
{
    size_t size = (end - heap.mapped + HEAP_STEP - 1) & ~(size_t)(HEAP_STEP - 1);
    long place = sys_call6(SYS_mmap, (long)heap.mapped, (long)size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | 0x100000 /* MAP_FIXED_NOREPLACE */, -1, 0);
    if (place != (long)heap.mapped) {
        if (place > 0)
            sys_call2(SYS_munmap, place, size);
        return false;
    }
    heap.mapped += size;
    return true;
}

/* What is given back is not unmapped, but is zero when it comes again. */
static uintptr_t heap_set(uintptr_t end)
{
    if (end < heap.start || end >= I386_END - HEAP_STEP || (end > heap.mapped && !heap_grow(end)))
        return heap.end;
    if (end < heap.end) {
        uintptr_t page = (end + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
        for (char *byte = (char *)end; byte < (char *)(page < heap.end ? page : heap.end); byte++)
            *byte = 0;
        if (page < heap.mapped)
            sys_call3(SYS_madvise, page, heap.mapped - page, MADV_DONTNEED);
    }
    return heap.end = end;
}

I386_MAKES(i386_heap)
{
    (void)entry;
    int process = (int)sys_call0(SYS_getpid);
    while (__atomic_exchange_n(&heap.lock, process, __ATOMIC_ACQUIRE) == process)
        sys_call0(SYS_sched_yield);
    uintptr_t end = heap_set((uintptr_t)call->arguments[0]);
    __atomic_store_n(&heap.lock, 0, __ATOMIC_RELEASE);
    return (long)end;
}
