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

void restore(void);
__asm__(".text\n"
        "restore: mov $15, %rax; syscall\n");

#endif
