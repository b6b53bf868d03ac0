/* Inside the container's processes: telling the tracer that the engine has done its work, and the guest goes on. */

#include <signal.h>

#include "tracer.h"

__asm__(".text\n"
        ".globl traced_stop, traced_stopped\n"
        ".hidden traced_stop, traced_stopped\n"
        "traced_stop:\n"
        "    mov $234, %eax\n" /* tgkill */
        "    syscall\n"
        "traced_stopped:\n"
        "    ret\n");

void traced_stop(long process, long thread, long signal);

/* Only where every call is stopped, the engine's own would be too: so they are not until it says this.  By a signal that
 * nobody can block or ignore, and that the tracer takes away. */
void traced_leave(void)
{
    if (engine.tracing == TRACE_ALL)
        traced_stop(sys_call0(SYS_getpid), sys_call0(SYS_gettid), SIGSTOP);
}
