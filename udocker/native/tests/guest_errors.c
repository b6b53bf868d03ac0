/* What every call that takes a path says of paths that are none: one line a call and path, to be compared with what
 * the kernel says where no engine is.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_numbers.h"

#include "../path/calls.c"

static const char *const call_names[] = {
#undef CALL
#define CALL(name, shape, dirfd, path, flags, bit, traits) #name,
#include "../path/calls.def"
};

struct text {
    const char *what;
    const char *path;
};

/* The paths, none of which is there. */
static struct text texts[10];

static void texts_make(void)
{
    static char longer[5000], name[300];
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *closed = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    memset(page, 'x', 4096);
    memset(longer, '/', sizeof longer - 1);
    memset(name, 'n', sizeof name - 1);
    texts[0] = (struct text){"wild", (const char *)8};
    texts[1] = (struct text){"kernel", (const char *)-4096};
    texts[2] = (struct text){"unended", page + 4000};
    texts[3] = (struct text){"empty", ""};
    texts[4] = (struct text){"too long", longer};
    texts[5] = (struct text){"long name", name};
    texts[6] = (struct text){"missing", "/no/such/place"};
    texts[7] = (struct text){"below a file", "/etc/passwd/x"};
    texts[8] = (struct text){"null", NULL};
    texts[9] = (struct text){"closed", closed};
}

/* Calls of which only somebody with privileges learns more than that he has none. */
static bool is_privileged(long number)
{
    return number == SYS_fanotify_mark || number == SYS_fspick || number == SYS_mount_setattr ||
           number == SYS_move_mount || number == SYS_open_tree_attr;
}

/* The other arguments are right, for the kernel does not tell in which order it looks at them. */
static void others_fill(const struct call *entry, long a[6])
{
    static char buffer[65536];
    static const long how[3];
    static struct {
        uint64_t value;
        unsigned size, flags;
    } attribute = {0, 1, 0};
    attribute.value = (uintptr_t)buffer;
    switch (entry->number) {
    case SYS_stat:
    case SYS_lstat:
        a[1] = (long)buffer;
        return;
    case SYS_newfstatat:
    case SYS_statfs:
        a[entry->path + 1] = (long)buffer;
        return;
    case SYS_readlink:
    case SYS_readlinkat:
        a[entry->path + 1] = (long)buffer, a[entry->path + 2] = 100;
        return;
    case SYS_statx:
        a[4] = (long)buffer;
        return;
    case SYS_setxattr:
    case SYS_lsetxattr:
    case SYS_getxattr:
    case SYS_lgetxattr:
    case SYS_removexattr:
    case SYS_lremovexattr:
        a[1] = (long)"user.none", a[2] = (long)buffer, a[3] = 1;
        return;
    case SYS_removexattrat:
    case SYS_setxattrat:
    case SYS_getxattrat:
        a[3] = (long)"user.none", a[4] = (long)&attribute, a[5] = sizeof attribute;
        return;
    case SYS_file_getattr:
    case SYS_file_setattr:
        a[2] = (long)buffer, a[3] = 24 /* sizeof(struct file_attr) */;
        return;
    case SYS_inotify_add_watch:
        a[0] = inotify_init1(IN_CLOEXEC), a[2] = IN_ACCESS;
        return;
    case SYS_openat2:
        a[2] = (long)how, a[3] = sizeof how;
        return;
    default:
        return;
    }
}

static long try(const struct call *entry, const char *path, long dirfd)
{
    long a[6] = {0};
    others_fill(entry, a);
    if (entry->dirfd >= 0)
        a[entry->dirfd] = dirfd;
    a[entry->path] = (long)path;
    if (entry->shape == CALL_TWO) {
        int next = entry->path + (entry->dirfd >= 0 ? 2 : 1);
        a[next] = (long)"/tmp/no-such-file";
        if (entry->dirfd >= 0)
            a[next - 1] = AT_FDCWD;
    }
    if (entry->shape == CALL_SECOND)
        a[0] = (long)"text";
    return syscall((int)entry->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int main(void)
{
    texts_make();
    for (size_t i = 0; i < call_count; i++) {
        const struct call *entry = &call_table[i];
        if ((entry->shape > CALL_READLINK && entry->shape != CALL_EXEC) || is_privileged(entry->number))
            continue;
        for (size_t text = 0; text < sizeof texts / sizeof *texts; text++) {
            long result = try(entry, texts[text].path, AT_FDCWD);
            printf("%s %s %s\n", call_names[i], texts[text].what, result < 0 ? strerrorname_np(errno) : "done");
        }
        if (entry->dirfd >= 0) {
            long result = try(entry, "relative", 999);
            printf("%s no directory %s\n", call_names[i], result < 0 ? strerrorname_np(errno) : "done");
        }
    }
    return 0;
}
