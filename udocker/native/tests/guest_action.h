/* Signal actions as rt_sigaction(2) takes them, which a C library keeps to itself. */
#ifndef GUEST_ACTION_H
#define GUEST_ACTION_H

#include <stdint.h>

struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

/* Where handlers return to: of i386 those with SA_SIGINFO to another place than those without. */
void restore(void);
void restore_old(void);
#ifdef __i386__
__asm__(".text\n"
        "restore: mov $173, %eax; int $0x80\n"
        "restore_old: pop %eax; mov $119, %eax; int $0x80\n");
#define RESTORE(flags) ((void *)((flags) & SA_SIGINFO ? restore : restore_old))
#else
__asm__(".text\n"
        "restore: mov $15, %rax; syscall\n");
#define RESTORE(flags) ((void *)restore)
#endif

#endif
