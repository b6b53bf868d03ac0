/* Whose a file is to the container, as values. */

#include "root.h"

#include <errno.h>
#include <sys/sysmacros.h>

#include "../path/sys.h"

/* What begins so is ours: more may be written down one day. */
static const char HIDDEN[] = "user.udocker.";

bool root_attribute_is_hidden(const char *name)
{
    for (size_t i = 0; HIDDEN[i]; i++)
        if (name[i] != HIDDEN[i])
            return false;
    return true;
}

size_t root_attributes_hide(char *names, size_t size)
{
    size_t from = 0, to = 0;
    while (from < size) {
        size_t length = 0;
        while (from + length < size && names[from + length])
            length++;
        if (from + length == size)
            break; /* without an end: no list of the kernel's */
        if (!root_attribute_is_hidden(names + from)) {
            bytes_move(names + to, names + from, length + 1);
            to += length + 1;
        }
        from += length + 1;
    }
    return to;
}

/* ---- the text: "UID:GID:MODE:DEVICE", the mode in octal ---- */

static bool take(const char **at, const char *end, unsigned base, uint64_t most, uint64_t *number)
{
    const char *start = *at;
    for (*number = 0; *at < end && **at >= '0' && **at < (char)('0' + base); (*at)++) {
        *number = *number * base + (uint64_t)(**at - '0');
        if (*number > most)
            return false;
    }
    return *at > start;
}

static bool take_colon(const char **at, const char *end)
{
    return *at < end && *(*at)++ == ':';
}

int root_owner_read(struct root_owner *owner, const char *text, size_t size)
{
    const char *at = text, *end = text + size;
    uint64_t uid, gid, mode, device;
    const uint64_t most = 0xfffffffe;
    bool good = take(&at, end, 10, most, &uid) && take_colon(&at, end) && take(&at, end, 10, most, &gid) &&
                take_colon(&at, end) && take(&at, end, 8, 0177777, &mode) && take_colon(&at, end) &&
                take(&at, end, 10, 1ull << 48, &device) && at == end;
    if (!good)
        return -EINVAL;
    *owner = (struct root_owner){(uint32_t)uid, (uint32_t)gid, (uint32_t)mode, device};
    return 0;
}

static size_t put(char *text, uint64_t number, unsigned base)
{
    char reversed[24];
    size_t count = 0, at = 0;
    do
        reversed[count++] = (char)('0' + number % base);
    while (number /= base);
    while (count > 0)
        text[at++] = reversed[--count];
    return at;
}

size_t root_owner_write(const struct root_owner *owner, char text[ROOT_OWNER_TEXT])
{
    size_t at = put(text, owner->uid, 10);
    text[at++] = ':';
    at += put(text + at, owner->gid, 10);
    text[at++] = ':';
    at += put(text + at, owner->mode, 8);
    text[at++] = ':';
    at += put(text + at, owner->device, 10);
    text[at] = '\0';
    return at;
}

/* ---- permissions ---- */

uint32_t root_host_mode(uint32_t mode, bool is_directory)
{
    /* Root may execute a file that anybody may. */
    uint32_t own = is_directory ? 0700 : mode & 0111 ? 0700 : 0600;
    return (mode & 01777) | own;
}

static bool is_device(uint32_t mode)
{
    return S_ISCHR(mode) || S_ISBLK(mode);
}

/* What stands for a device, and what the host gave other permissions than ours since, is the host's. */
static uint32_t shown_mode(const struct root_owner *owner, uint32_t mode, uint64_t size)
{
    if (is_device(owner->mode))
        return S_ISREG(mode) && size == 0 ? owner->mode : mode;
    if (owner->mode == 0 || (mode & 07777) != root_host_mode(owner->mode & 07777, S_ISDIR(mode)))
        return mode;
    return (mode & S_IFMT) | (owner->mode & 07777);
}

static uint32_t shown_number(const uint32_t own[2], uint32_t number)
{
    return number == own[0] || number == own[1] ? 0 : number;
}

void root_stat_show(const struct root_host *host, const struct root_owner *owner, struct stat *info)
{
    if (!owner) {
        info->st_uid = shown_number(host->uid, info->st_uid);
        info->st_gid = shown_number(host->gid, info->st_gid);
        return;
    }
    info->st_uid = owner->uid;
    info->st_gid = owner->gid;
    info->st_mode = shown_mode(owner, info->st_mode, (uint64_t)info->st_size);
    if (is_device(info->st_mode) && is_device(owner->mode))
        info->st_rdev = owner->device;
}

void root_statx_show(const struct root_host *host, const struct root_owner *owner, struct root_statx *info)
{
    if (!owner) {
        info->uid = shown_number(host->uid, info->uid);
        info->gid = shown_number(host->gid, info->gid);
        return;
    }
    info->uid = owner->uid;
    info->gid = owner->gid;
    info->mode = (uint16_t)shown_mode(owner, info->mode, info->size);
    if (is_device(info->mode) && is_device(owner->mode)) {
        info->device_major = major(owner->device);
        info->device_minor = minor(owner->device);
    }
}

int root_access(const struct root_ids *ids, const struct stat *shown, int wanted, bool effective)
{
    uint32_t uid = ids->uid[effective ? ROOT_FILES : ROOT_REAL], gid = ids->gid[effective ? ROOT_FILES : ROOT_REAL];
    bool in_group = shown->st_gid == gid;
    for (uint32_t i = 0; i < ids->group_count; i++)
        in_group = in_group || ids->groups[i] == shown->st_gid;
    unsigned bits = shown->st_mode & 7;
    if (uid == 0)
        bits = S_ISDIR(shown->st_mode) || (shown->st_mode & 0111) ? 7 : 6;
    else if (uid == shown->st_uid)
        bits = shown->st_mode >> 6 & 7;
    else if (in_group)
        bits = shown->st_mode >> 3 & 7;
    return ((unsigned)wanted & 7 & ~bits) ? -EACCES : 0;
}
