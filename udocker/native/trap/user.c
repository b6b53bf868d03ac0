#include <errno.h>
#include <sys/uio.h>

#include "trap.h"

enum { PAGE = 4096 };

/* rt_sigprocmask(2) reads the set before it looks at `how`, which is no operation here: EFAULT where the
 * page cannot be read, EINVAL otherwise, and nothing happens.  The cheapest question there is.  A null pointer would be
 * no set: nothing to read. */
int user_check(const void *address)
{
    const void *word = (const void *)((uintptr_t)address & ~(uintptr_t)7);
    return !word || sys_call4(SYS_rt_sigprocmask, -1, word, NULL, 8) == -EFAULT ? -EFAULT : 0;
}

static size_t left_in_page(uintptr_t address)
{
    return PAGE - address % PAGE;
}

int user_read(void *target, const void *address, size_t size)
{
    const char *from = address;
    for (size_t done = 0; done < size;) {
        int result = user_check(from + done);
        if (result < 0)
            return result;
        size_t part = left_in_page((uintptr_t)(from + done));
        part = part < size - done ? part : size - done;
        bytes_copy((char *)target + done, from + done, part);
        done += part;
    }
    return 0;
}

int user_string(char target[PATH_SIZE], const char *address)
{
    for (size_t done = 0; done < PATH_SIZE;) {
        int result = user_check(address + done);
        if (result < 0)
            return result;
        size_t end = done + left_in_page((uintptr_t)(address + done));
        for (end = end < PATH_SIZE ? end : PATH_SIZE; done < end; done++)
            if (!(target[done] = address[done]))
                return (int)done;
    }
    return -ENAMETOOLONG;
}

int user_write(void *address, const void *source, size_t size)
{
    struct iovec here = {(void *)(uintptr_t)source, size}, there = {address, size};
    if (size == 0)
        return 0;
    long done = sys_call6(SYS_process_vm_writev, sys_call0(SYS_getpid), (long)&here, 1, (long)&there, 1, 0);
    if (done == (long)size)
        return 0;
    if (done >= 0 || done == -EFAULT)
        return -EFAULT;
    /* A kernel without the call, or a filter that refuses it: then we write, and a wild pointer is the
     * guest's own fault, as it would be in memcpy. */
    bytes_copy(address, source, size);
    return 0;
}
