/* Programs of 32 bits, i386.  The process is one of 64 bits all the same: the engine, which stays where it always is,
 * puts the program below 4 GiB and jumps into it with the 32-bit code segment.  Its calls, made by "int $0x80", trap with
 * the numbers of i386.def; they are made as the calls of 64 bits that do the same, so that all that the engine knows of
 * paths, sockets and root is theirs as well.
 *
 * A signal's frame for a 32-bit handler holds 32 bits of each register, and none of the engine's fits.  So every
 * handler of the guest's is called by one of ours, which the kernel gives a frame of 64 bits: i386_frames.c.
 */
#ifndef TRAP_I386_H
#define TRAP_I386_H

#include "stacks.h"
#include "trap.h"

#pragma GCC visibility push(hidden)

enum {
    I386_CODE = 0x23, /* segments: __USER32_CS, __USER_CS and __USER_DS of the kernel's <asm/segment.h> */
    I386_CODE_64 = 0x33,
    I386_DATA = 0x2b,
    I386_FAR = 8, /* bytes of an address with its segment, on the guest's stack */
};
#define I386_END 0x100000000ul

/* When a call comes to the engine, and as what; number 0 after the last. */
enum i386_when {
    I386_ALWAYS = 1,
    I386_MASKS = 2,
    I386_CHANGES = 4,
    I386_ROOT = 8,
    I386_HEAP = 16,
    I386_ASKED = 32,
    I386_SCHEDULING = 64,
};
struct i386_entry {
    short number, twin;
    uint8_t when;
    /* NULL where the arguments are the twin's */
    long (*make)(const struct i386_entry *entry, struct trapped *call);
};
extern const struct i386_entry i386_table[];
extern const size_t i386_count;

/* i386_calls.c */
bool i386_is_exec(long number);
void i386_take(struct visit *visit); /* a call's arguments from its registers */
long i386_call(struct trapped *call);
/* The call of x86-64 `number` with these arguments, as the engine makes it for the guest. */
long i386_as(const struct trapped *call, long number, const long *arguments);
/* The very call of i386, made by the engine with these arguments, of which pointers are below 4 GiB. */
long i386_raw(long number, const long *arguments);
/* Memory of the guest's that nobody uses during the call: below its stack pointer.  Once a call; zero where the stack
 * has no room. */
uintptr_t i386_lend(const struct trapped *call, size_t size);

/* i386_files.c, i386_sockets.c, i386_signals.c, i386_frames.c */
#define I386_MAKES(name) long name(const struct i386_entry *entry, struct trapped *call)
I386_MAKES(i386_exec);
I386_MAKES(i386_stat);
I386_MAKES(i386_statfs);
I386_MAKES(i386_times);
I386_MAKES(i386_truncate);
I386_MAKES(i386_fanotify);
I386_MAKES(i386_ioctl);
I386_MAKES(i386_short_ids);
I386_MAKES(i386_short_answer);
I386_MAKES(i386_prctl);
I386_MAKES(i386_heap);
I386_MAKES(i386_gone);
I386_MAKES(i386_socketcall);
I386_MAKES(i386_message);
I386_MAKES(i386_received);
I386_MAKES(i386_option);
I386_MAKES(i386_signal);
I386_MAKES(i386_old_action);
I386_MAKES(i386_action);
I386_MAKES(i386_set_mask);
I386_MAKES(i386_old_mask);
I386_MAKES(i386_suspend);
I386_MAKES(i386_select);
I386_MAKES(i386_poll);
I386_MAKES(i386_return);

/* i386_frames.c */
void i386_trapped(ucontext_t *context); /* a call of 32-bit numbers that our filter has trapped */
_Noreturn void i386_deliver_sigsys(int number, const siginfo_t *information, ucontext_t *context,
                                   struct disposition guest);

/* i386_floats.c: what a handler's frame tells of the floating-point unit */
/* Makes it of the kernel's frame, of which `information` is not needed any more, or below *end; its address, 0 where
 * there is nothing to tell. */
uint32_t i386_floats_show(const ucontext_t *context, const siginfo_t *information, uintptr_t *end);
/* Puts what a handler has left there into the kernel's frame; -EFAULT. */
int i386_floats_take(ucontext_t *context, uint32_t place);

/* i386_start.c */
bool i386_is_there(void);      /* whether the kernel makes such calls */
long i386_map(size_t size);    /* room below 4 GiB that nothing is in; -errno */
void i386_heap_begin(uintptr_t start);
_Noreturn void i386_start(char *const *arguments, char *const *environment, const unsigned long *auxiliary,
                          const struct image *program, uintptr_t entry);
uint32_t i386_return_text(bool old); /* where a handler returns to that names no place for that */
/* Between these a thread is on the guest's stack, with the guest's registers, and about to go there. */
extern const char i386_leave_first[], i386_leave_last[];

#pragma GCC visibility pop

#endif
