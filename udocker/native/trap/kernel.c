/* The kernel's release as the program sees it, where somebody asked for another: uname(2). */

#include <errno.h>
#include <sys/utsname.h>

#include "begin.h"

int kernel_pretend(const char *release)
{
    size_t size = bytes_length(release) + 1;
    if (size > sizeof engine.kernel)
        return -ENAMETOOLONG;
    bytes_copy(engine.kernel, release, size);
    return filter_add_call(SYS_uname);
}

long kernel_call(const struct trapped *call)
{
    struct utsname name;
    long result = sys_call1(SYS_uname, &name);
    if (result < 0)
        return result;
    if (engine.kernel[0])
        bytes_copy(name.release, engine.kernel, bytes_length(engine.kernel) + 1);
    return user_write((void *)call->arguments[0], &name, sizeof name);
}
