/* The kernel's release as the program sees it, where somebody asked for another: uname(2). */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

#include "begin.h"

extern const char trap_text_start[] __attribute__((visibility("hidden")));
extern const char trap_text_end[] __attribute__((visibility("hidden")));

/* A filter of its own, since only few ask for it: uname(2) is trapped too, wherever it comes from but this text. */
static int filter_add(void)
{
    uintptr_t start = (uintptr_t)trap_text_start, end = (uintptr_t)trap_text_end;
    uint32_t pointer = offsetof(struct seccomp_data, instruction_pointer);
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(start >> 32), 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)start, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)end, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    struct sock_fprog text = {sizeof lines / sizeof *lines, lines};
    long result = sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (result == 0)
        result = sys_call3(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &text);
    return (int)result;
}

int kernel_pretend(const char *release)
{
    size_t size = bytes_length(release) + 1;
    if (size > sizeof engine.kernel)
        return -ENAMETOOLONG;
    bytes_copy(engine.kernel, release, size);
    return filter_add();
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
