/* What stacks.c keeps of a call that trapped, on the stack that the call is served on. */
#ifndef TRAP_STACKS_H
#define TRAP_STACKS_H

#include "trap.h"

struct work {
    struct trapped *call;
    long result;
    int stack;
    int *tid_address; /* the guest's, while ours is in its place */
    bool has_address;
};

struct visit {
    /* trap_leave reads these by their places */
    long ax, bx, bp, sp, ip, flags, r12, r13, r14, r15, di, si, dx, r10, r8, r9;
    int *claim;
    long cx, left; /* of a 32-bit program: this register too, and where the way back lies on its stack */
    long is_i386;
    struct trapped call;
    struct work work;
    stack_t alternate;
    uint64_t mask;
    bool lands; /* for a debugger: land.c */
    uint64_t guarded; /* signals that a tracer has blocked until the call is on its own stack */
    size_t lent; /* bytes below the stack of a 32-bit program that the engine uses during the call */
};

#endif
