/* What debug.c knows of a debugger's tracees, for requests.c and waits.c. */
#ifndef TRAP_DEBUG_H
#define TRAP_DEBUG_H

#include <linux/ptrace.h>
#include <sys/user.h>

#include "trap.h"

#pragma GCC visibility push(hidden)

enum {
    CALL_STOP = SIGTRAP | 0x80 /* PTRACE_O_TRACESYSGOOD */,
    TRAPPED = 1 /* SYS_SECCOMP */,
    RESTARTS = 512 /* ERESTARTSYS, which tracers are shown of an interrupted call */,
};
enum { REPORT, AGAIN, ENDED }; /* of a stop: to be told, or not; or the thread has ended, as the status says */

/* A stop at a call that the kernel knows nothing of.  Behind one that a signal has interrupted the kernel's stop for the
 * signal is the next to be shown; after the signal the call is shown to begin again when it ends. */
enum shown { SHOWN_NONE, SHOWN_BEGIN, SHOWN_END, SHOWN_INTERRUPTED };

struct tracee {
    int thread;         /* 0: nobody's place */
    uint8_t way;        /* the request by which the debugger let it go on; 0 before the first */
    uint8_t shown;
    bool is_new;        /* it was running when it was attached to */
    bool in_call;       /* it has been shown that a call begins: rt_sigreturn may lead into the engine */
    bool lands;         /* is in the engine, and stops when it leaves it */
    bool has_message;   /* is stopped at an event that the kernel knows no more */
    bool is_interrupted; /* a stop is wanted, which any other makes the kernel forget */
    int held;           /* what wait4 gives next; 0 for nothing */
    int signal;         /* a stop that comes after the one that is shown */
    long result;        /* of a call that is shown to begin */
    unsigned long message;
};

extern bool calls_are_marked; /* the debugger wants PTRACE_O_TRACESYSGOOD */

static inline long trace(long request, long thread, long address, void *data)
{
    return sys_call4(SYS_ptrace, request, thread, address, data);
}

struct tracee *tracee_find(long thread);
struct tracee *tracee_take(long thread); /* made where there is none; NULL where there are too many */
void tracee_forget(long thread);
long debug_mark(long thread, enum debugged debugged);
int debug_call_stop(struct tracee *tracee, enum shown shown);        /* as wait4 gives it */
void debug_land(long thread);                                        /* where it waits to leave the engine */
int debug_stop(long thread, int *status); /* what the debugger is shown of a stop that the kernel tells, as wait4 has it */
/* A stop that is to be told and that the kernel has told already; 0 for none.  `wanted` is wait4's first argument. */
long debug_held(long wanted, int *status);

/* waits.c */
long waits_wait4(const struct trapped *call);
long waits_waitid(const struct trapped *call);

#pragma GCC visibility pop

#endif
