/* Engine P: a process outside stops the container's processes at their calls, and lets each go on in the engine
 * inside it (../trap), which translates and makes the call as in engine T.  No signal is taken from the guest, and
 * where no filter can be set (seccomp(2)) every call is stopped.
 *
 * The tracer changes registers only.  At traced_enter the guest's are as they were at its `syscall`, but for those that
 * a system call destroys: rcx is where it goes on, r11 is the call's number and, in its upper half, which of the signals
 * of ../trap/cancel.c are blocked until the call is on a stack of the engine's, and whether it is a 32-bit program's: then r8 is
 * what rcx was.
 */
#ifndef TRACER_H
#define TRACER_H

#include "../trap/i386.h"
#include "../trap/trap.h"

#define TRACER_I386 (1ull << 63) /* in r11 */
enum { TRACER_I386_ACTION = 174 /* rt_sigaction of i386 */ };

#pragma GCC visibility push(hidden)

/* start.c: puts this process under a tracer of its own, which follows all that it starts; ends the process where this
 * host does not allow it. */
void tracer_start(void);

/* serve.c: what may fail of it, and the tracer's work, until nothing is left to trace. */
int tracer_prepare(long program);
void tracer_serve(void);
void tracer_event(long thread, int status); /* one stop or end, as wait4(2) has it */
long tracer_wait(long thread, int *status); /* for one, or for any (-1) */
enum { TRACER_THREADS = 1 << 22 /* PID_MAX_LIMIT */ };

/* place.c: on which processor all this is.  It is told what wait4(2) returned, and that a signal ended it; which threads
 * are started; and who asks how another is scheduled, or sets that. */
int place_prepare(long program);
void place_heard(long thread, int status);
void place_woken(void);
bool place_is_early(long thread); /* a new thread waits until it is told which one has started it */
bool place_born(long parent, long thread, bool is_process); /* whether the new one waits */
/* Where every call stops: whether a thread's next stop is after a call. */
void place_set_in_call(long thread, bool is_in_call);
bool place_is_in_call(long thread);
long place_next_early(void); /* one that need not wait any more, 0 for none */
void place_asked(long thread, long other, bool sets);
long place_resume(long request, long thread, long signal); /* as ptrace(2) does */

/* fetch.c: a process of ours goes over to the debugger that asks for it. */
long tracer_fetch(long asker, long process);

/* judge.c: what the filter says of a call, which the tracer asks where the kernel has none. */
struct seccomp_data;
uint32_t judge(const struct seccomp_data *call);

/* inside.c: where a thread goes on in place of the call that it was stopped at, and */
extern const char traced_enter[];
extern const char traced_stopped[]; /* where a thread is that waits to leave the engine, or */
extern const char traced_fault[];   /* where no call tells the tracer of it */
enum { TRACER_HEARD = 0x7ea1 };     /* in rax */

#pragma GCC visibility pop

#endif
