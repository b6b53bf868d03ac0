/* Inside the container's processes: how a stopped call comes to the engine, and how the tracer is told that the engine
 * has done its work. */

#include <signal.h>
#include <ucontext.h>

#include "tracer.h"

enum { RED_ZONE = 128, PUSHED = RED_ZONE + 2 * sizeof(greg_t) /* before the stack pointer */ };

__attribute__((used, noreturn)) void traced_visit(greg_t *registers)
{
    uint64_t number = (uint64_t)registers[REG_RAX];
    bool i386 = number & TRACER_I386;
    registers[REG_RSP] += PUSHED;
    registers[REG_RAX] = (uint32_t)number;
    if (i386)
        registers[REG_RCX] = registers[REG_R8];
    stacks_visit_traced((const long *)registers, (number & ~TRACER_I386) >> 32 << (CANCEL_FIRST - 1), i386);
}

/* Behind the red zone of the guest's stack there is room for what claims one of the engine's. */
__asm__(".text\n"
        ".globl traced_enter\n"
        ".hidden traced_enter\n"
        "traced_enter:\n"
        "    lea -128(%rsp), %rsp\n"
        "    pushfq\n"
        "    push %rcx\n" /* rip */
        "    push %rsp\n"
        "    push %rcx\n"
        "    push %r11\n" /* rax */
        "    push %rdx\n"
        "    push %rbx\n"
        "    push %rbp\n"
        "    push %rsi\n"
        "    push %rdi\n"
        "    push %r15\n"
        "    push %r14\n"
        "    push %r13\n"
        "    push %r12\n"
        "    push %r11\n"
        "    push %r10\n"
        "    push %r9\n"
        "    push %r8\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    cld\n"
        "    call traced_visit\n"
        "    hlt\n");

__asm__(".text\n"
        ".globl traced_stop, traced_stopped\n"
        ".hidden traced_stop, traced_stopped\n"
        "traced_stop:\n"
        "    mov $234, %eax\n" /* tgkill */
        "    syscall\n"
        "traced_stopped:\n"
        "    ret\n"
        ".globl traced_fault\n"
        ".hidden traced_fault\n"
        "traced_fault:\n"
        "    hlt\n"
        "    ret\n");

long traced_stop(long process, long thread, long signal);

/* Only where every call is stopped, the engine's own would be too: so they are not until it says this.  By a signal that
 * nobody can block or ignore, and that the tracer takes away.  A filter of the guest's own can keep the call that sends it
 * from being made, and answer what it likes; then by a fault, which is SIGSEGV.  Unheard nobody leaves. */
void traced_leave(void)
{
    if (engine.tracing == TRACE_ALL &&
        traced_stop(sys_call0(SYS_getpid), sys_call0(SYS_gettid), SIGSTOP) != TRACER_HEARD)
        ((void (*)(void))(uintptr_t)traced_fault)();
}
