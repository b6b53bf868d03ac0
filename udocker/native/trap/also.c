/* One more call is trapped, by a filter of its own: for what only few runs ask for. */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "begin.h"

/* As filter.c marks its own traps (TRAP_MARK), for the guest's filters may trap the same call. */
enum { MARK = 0x7ea0 };

extern const char trap_text_start[] __attribute__((visibility("hidden")));
extern const char trap_text_end[] __attribute__((visibility("hidden")));

int also_trap(long number)
{
    uintptr_t start = (uintptr_t)trap_text_start, end = (uintptr_t)trap_text_end;
    uint32_t pointer = offsetof(struct seccomp_data, instruction_pointer);
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(start >> 32), 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)start, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)end, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | MARK),
    };
    struct sock_fprog text = {sizeof lines / sizeof *lines, lines};
    long result = sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (result == 0)
        result = sys_call3(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &text);
    return (int)result;
}
