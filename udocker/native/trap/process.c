/* What others see of the process: ps(1), /proc/PID/cmdline, a debugger. */

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>

#include "trap.h"

static unsigned long string_end(const char *text)
{
    return (unsigned long)(text + bytes_length(text) + 1);
}

/* PR_SET_MM_MAP (3.18) needs no privilege where the program's file stays as it is: prctl(2).  Where it is
 * missing the engine's own arguments show, and the heap is the engine's.  What the kernel knew before is not asked of /proc, which would take
 * longer than the rest of the start: it put arguments and environment behind each other. */
bool process_can_tell(void)
{
    unsigned size;
    return sys_call5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0;
}

void process_tell(const struct process *process, const struct image *program)
{
    struct prctl_mm_map map = {
        .start_code = program->code_start,
        .end_code = program->code_end,
        .start_data = program->data_start,
        .end_data = program->data_end,
        .start_brk = program->brk,
        .brk = program->brk,
        .start_stack = process->stack,
        .arg_start = process->arguments,
        .arg_end = process->environment,
        .env_start = process->environment,
        .env_end = process->environment_end,
        .auxv = (void *)process->auxiliary,
        .auxv_size = process->auxiliary_size,
        .exe_fd = (unsigned)-1,
    };
    if (engine.mm_map)
        sys_call5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
}

void process_describe(unsigned long *stack, const unsigned long *auxiliary, const struct image *program)
{
    char **arguments = (char **)(stack + 1), **environment = arguments + stack[0] + 1, **last = environment;
    const unsigned long *end = auxiliary;
    if (stack[0] == 0)
        return;
    while (end[0])
        end += 2;
    end += 2;
    while (*last)
        last++;
    unsigned long argument_end = string_end(arguments[stack[0] - 1]);
    struct process process = {
        .stack = (unsigned long)stack,
        .arguments = (unsigned long)arguments[0],
        .environment = argument_end,
        .environment_end = last > environment ? string_end(last[-1]) : argument_end,
        .auxiliary = (unsigned long)auxiliary,
        .auxiliary_size = (unsigned)((const char *)end - (const char *)auxiliary),
    };
    process_tell(&process, program);
}
