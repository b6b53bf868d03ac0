/* Whether calls can be trapped here, and their sites rewritten. */

#include "begin.h"

#include <errno.h>
#include <sys/mman.h>

#include "../tracer/tracer.h"

/* SELinux refuses such memory to some (execmem), and then no call site can be rewritten. */
static int probe_patch(void)
{
    long place = sys_call6(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place < 0 && place > -4096)
        report_and_stop("memory", "this host forbids to rewrite a program's text in memory", "execution mode T1 does without");
    return 0;
}

/* A call from outside the text that the filter lets through, though within the same segment. */
__attribute__((visibility("hidden"))) long probe_call(long argument, long unused, long number);
__asm__(".section .rodata\n"
        ".globl probe_call\n"
        ".hidden probe_call\n"
        "probe_call:\n"
        "    mov %rdx, %rax\n"
        "    syscall\n"
        "    ret\n"
        ".text\n");

/* uselib(2), which the engine refuses without a look at the path; the kernel would say ENOSYS, or EFAULT. */
int probe_calls(void)
{
    if (engine.tracing)
        tracer_start();
    engine_start(NULL);
    traced_leave();
    if (probe_call(0, 0, SYS_uselib) != -EPERM)
        report_and_stop("seccomp", "a filter can be set here, but traps nothing", "try another execution mode");
    return engine.patch ? probe_patch() : 0;
}
