/* What others see of the process: ps(1), /proc/PID/cmdline, a debugger. */

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>

#include "trap.h"

/* Fields of /proc/[pid]/stat by their numbers in proc(5). */
enum { START_CODE = 26, END_CODE, START_STACK, START_DATA = 45, END_DATA, START_BRK, ARG_START, ARG_END, ENV_START, ENV_END, FIELDS };

static int stat_read(unsigned long fields[FIELDS])
{
    char text[1024];
    long file = sys_call4(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    if (file < 0)
        return (int)file;
    long length = sys_call3(SYS_read, file, text, sizeof text - 1);
    sys_call1(SYS_close, file);
    if (length <= 0)
        return -EIO;
    text[length] = '\0';
    /* The name in parentheses may hold anything; the last one closes it.  Field 3 is behind it. */
    char *at = text + length;
    while (at > text && *at != ')')
        at--;
    at += *at ? 2 : 0;
    for (int field = 3; field < FIELDS; field++) {
        unsigned long value = 0;
        for (; *at && *at != ' '; at++)
            if (*at >= '0' && *at <= '9')
                value = value * 10 + (unsigned long)(*at - '0');
        fields[field] = value;
        at += *at == ' ';
    }
    return 0;
}

/* PR_SET_MM_MAP (3.18) needs no privilege where the program's file stays as it is: prctl(2).  Where it is
 * missing the engine's own arguments show. */
void process_describe(uintptr_t arguments, const unsigned long *auxiliary)
{
    unsigned long fields[FIELDS];
    const unsigned long *end = auxiliary;
    if (stat_read(fields) < 0)
        return;
    while (end[0])
        end += 2;
    end += 2;
    struct prctl_mm_map map = {
        .start_code = fields[START_CODE],
        .end_code = fields[END_CODE],
        .start_data = fields[START_DATA],
        .end_data = fields[END_DATA],
        .start_brk = fields[START_BRK],
        .brk = (unsigned long)sys_call1(SYS_brk, 0),
        .start_stack = fields[START_STACK],
        .arg_start = arguments,
        .arg_end = fields[ARG_END],
        .env_start = fields[ENV_START],
        .env_end = fields[ENV_END],
        .auxv = (void *)(uintptr_t)auxiliary,
        .auxv_size = (unsigned)((const char *)end - (const char *)auxiliary),
        .exe_fd = (unsigned)-1,
    };
    sys_call5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
}
