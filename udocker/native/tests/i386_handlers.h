/* Handlers of a 32-bit program that see its floating-point state and destroy what is in the processor, and ways to wait
 * for them: guest.h. */
#ifndef I386_HANDLERS_H
#define I386_HANDLERS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest.h"

enum {
    TOLD = 1 /* UC_FP_XSTATE */,
    MAGIC = 0x46505853,     /* FP_XSTATE_MAGIC1 */
    MAGIC_END = 0x46505845, /* FP_XSTATE_MAGIC2 */
    CONTROL = 0x0e7f,       /* of x87: rounds towards zero, 53 bits */
    MXCSR = 0x5fa0,         /* of SSE: rounds upwards; something was inexact */
    FRESH = 0x37f,
    FRESH_MXCSR = 0x1f80,
    YMM3 = 576 + 3 * 16, /* its upper half: behind fxsave's area and xsave's header */
};

/* fxsave */
struct state {
    uint16_t control, status;
    uint8_t tags;
    uint8_t more[19];
    uint32_t mxcsr, mask;
    struct {
        uint8_t bytes[10], none[6];
    } st[8];
    uint8_t xmm[8][16];
    uint8_t rest[224];
} __attribute__((aligned(16)));

/* struct _fpstate_32 of <asm/sigcontext.h>, which goes before it in a handler's frame */
struct shown {
    uint32_t control, status, tags, ip, code, data, segment;
    uint8_t st[8][10];
    uint16_t status_again, magic;
    struct state state;
};
_Static_assert(offsetof(struct shown, state) == 112 && sizeof(struct state) == 512, "as the kernel has them");

static bool has_avx;
static volatile int heard;

/* ---- ways to wait for a signal, without the registers in question ---- */

__attribute__((target("general-regs-only"))) static void spin(void)
{
    while (!heard)
        ;
}

__attribute__((target("general-regs-only"))) static long gate(long number, long one, long two)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(one), "c"(two) : "memory");
    return result;
}

/* A call that the engine makes, again and again. */
__attribute__((target("general-regs-only"))) static void look(void)
{
    while (!heard)
        gate(SYS_access, (long)"/bin/busybox", 0);
}

static int ends[2];

/* One that the engine makes and that waits: its handler runs on the stack of the call, or on the other. */
__attribute__((target("general-regs-only"))) static void receive(void)
{
    char byte;
    struct sockaddr from;
    socklen_t size = sizeof from;
    const long arguments[6] = {ends[0], (long)&byte, 1, 0, (long)&from, (long)&size};
    while (!heard)
        gate(SYS_socketcall, 12 /* SYS_RECVFROM */, (long)arguments);
}

static void (*const WAITS[])(void) = {spin, look, receive};
enum { WAIT_COUNT = sizeof WAITS / sizeof *WAITS };

/* ---- handlers ---- */

/* What one does with what it was shown, and where what counts then is. */
static struct shown *(*task)(struct shown *shown);
static uint32_t flags;

static void clobber(void)
{
    static struct state other;
    memset(&other, 0x5a, sizeof other);
    other.control = 0x77f;
    other.mxcsr = 0x3f80;
    if (has_avx)
        __asm__ volatile("vcmptrueps %%ymm3, %%ymm3, %%ymm3" ::: "memory");
    __asm__ volatile("fxrstor %0" ::"m"(other) : "memory");
}

static struct shown *on_signal(struct shown *shown)
{
    struct state fresh;
    __asm__ volatile("fxsave %0" : "=m"(fresh));
    EXPECT(fresh.control == FRESH && fresh.tags == 0 && fresh.mxcsr == FRESH_MXCSR);
    if (task)
        shown = task(shown);
    heard++;
    clobber();
    return shown;
}

static void on_new(int number, siginfo_t *information, void *context)
{
    ucontext_t *shown = context;
    (void)number, (void)information;
    flags = (uint32_t)shown->uc_flags;
    shown->uc_mcontext.fpregs = (fpregset_t)on_signal((struct shown *)shown->uc_mcontext.fpregs);
}

/* Without SA_SIGINFO the context lies behind the signal's number. */
static void on_old(int number, struct sigcontext context)
{
    (void)number;
    flags = TOLD;
    *(struct _fpstate *volatile *)&context.fpstate =
        (struct _fpstate *)on_signal((struct shown *)context.fpstate);
}

static inline void handle(int signal, bool is_new, bool alternate)
{
    struct sigaction action = {.sa_flags = (is_new ? SA_SIGINFO : 0) | (alternate ? SA_ONSTACK : 0)};
    if (is_new)
        action.sa_sigaction = on_new;
    else
        action.sa_handler = (void (*)(int))(void (*)(void))on_old;
    EXPECT(sigaction(signal, &action, NULL) == 0);
}

/* And again after that: the first may come before the wait. */
static inline void interrupt_every(long microseconds)
{
    const struct itimerval often = {{0, microseconds}, {0, microseconds}};
    heard = 0;
    EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
}

static inline void interrupt_no_more(void)
{
    const struct itimerval never = {{0, 0}, {0, 0}};
    EXPECT(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

#endif
