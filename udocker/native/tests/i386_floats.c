/* What a signal's handler sees of the floating-point state of a 32-bit program, and what becomes of that: guest.h. */

#include <setjmp.h>
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

static struct state before, after;
static uint8_t high_before[16], high_after[16]; /* the upper half of ymm3 */
static bool has_avx;
static volatile int heard;

static void state_fill(void)
{
    memset(&before, 0, sizeof before);
    before.control = CONTROL;
    before.status = 2 << 11; /* the top of stack is the third register */
    before.tags = 0xfc;
    before.mxcsr = MXCSR;
    for (int i = 0; i < 6; i++) {
        long double number = i == 3 ? 0 : 1.25L * (i + 1);
        memcpy(before.st[i].bytes, &number, 10);
    }
    for (int i = 0; i < 8; i++)
        memset(before.xmm[i], 0xa0 + i, 16);
    memset(high_before, 0x77, sizeof high_before);
}

/* Waits with this state in the processor; what the state is then. */
static void wait_with(void (*waits)(void))
{
    static struct state usual;
    has_avx = __builtin_cpu_supports("avx");
    memset(high_after, 0, sizeof high_after);
    memset(&after, 0, sizeof after);
    __asm__ volatile("fxsave %[usual]\n\t"
                     "fxrstor %[before]\n\t"
                     "cmpb $0, %[avx]\n\t"
                     "je 1f\n\t"
                     "vinsertf128 $1, %[high], %%ymm3, %%ymm3\n\t"
                     "1: call *%[waits]\n\t"
                     "fxsave %[after]\n\t"
                     "cmpb $0, %[avx]\n\t"
                     "je 1f\n\t"
                     "vextractf128 $1, %%ymm3, %[high_after]\n\t"
                     "1: fxrstor %[usual]"
                     : [usual] "=m"(usual), [after] "=m"(after), [high_after] "=m"(high_after)
                     : [before] "m"(before), [high] "m"(high_before), [avx] "m"(has_avx), [waits] "S"(waits)
                     : "eax", "ecx", "edx", "memory");
}

static void expect_state(void)
{
    EXPECT(after.control == before.control && after.status == before.status && after.tags == before.tags);
    EXPECT(after.mxcsr == before.mxcsr && memcmp(after.xmm, before.xmm, sizeof after.xmm) == 0);
    EXPECT(!has_avx || memcmp(high_after, high_before, sizeof high_after) == 0);
    for (int i = 0; i < 6; i++)
        EXPECT(memcmp(after.st[i].bytes, before.st[i].bytes, 10) == 0);
}

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

static void handle(int signal, bool is_new, bool alternate)
{
    struct sigaction action = {.sa_flags = (is_new ? SA_SIGINFO : 0) | (alternate ? SA_ONSTACK : 0)};
    if (is_new)
        action.sa_sigaction = on_new;
    else
        action.sa_handler = (void (*)(int))(void (*)(void))on_old;
    EXPECT(sigaction(signal, &action, NULL) == 0);
}

static void interrupt_soon(void)
{
    const struct itimerval soon = {{0, 0}, {0, 10000}};
    heard = 0;
    EXPECT(setitimer(ITIMER_REAL, &soon, NULL) == 0);
}

/* Every kind of handler, in every way to wait; then `looks` at what is left. */
static void in_every_way(struct shown *(*does)(struct shown *), void (*looks)(void))
{
    static char other[16384] __attribute__((aligned(64)));
    const stack_t alternate = {.ss_sp = other, .ss_size = sizeof other};
    EXPECT(sigaltstack(&alternate, NULL) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    task = does;
    for (int way = 0; way < WAIT_COUNT * 4; way++) {
        handle(SIGALRM, way & 1, way & 2);
        state_fill();
        interrupt_soon();
        wait_with(WAITS[way / 4]);
        EXPECT(heard == 1);
        looks();
    }
}

static void after_a_handler_all_is_as_before(void)
{
    in_every_way(NULL, expect_state);
}

/* ---- the state in the handler's frame ---- */

static struct shown *see(struct shown *shown)
{
    const uint32_t tags = 0x040f; /* of two bits, by the registers' numbers: two are empty, the sixth is zero */
    uint32_t words[6], end;
    EXPECT(shown && shown->magic == 0 && (uint16_t)shown->control == CONTROL && (uint16_t)shown->status == 2 << 11);
    EXPECT(shown->status_again == 2 << 11 && (uint16_t)shown->tags == tags);
    EXPECT(shown->state.control == CONTROL && shown->state.tags == 0xfc && shown->state.mxcsr == MXCSR);
    EXPECT(memcmp(shown->state.xmm, before.xmm, sizeof before.xmm) == 0);
    for (int i = 0; i < 6; i++) {
        EXPECT(memcmp(shown->st[i], before.st[i].bytes, 10) == 0);
        EXPECT(memcmp(shown->state.st[i].bytes, before.st[i].bytes, 10) == 0);
    }
    EXPECT(((uintptr_t)&shown->state) % 64 == 0);
    memcpy(words, (const char *)&shown->state + 464, sizeof words); /* struct _fpx_sw_bytes */
    EXPECT(words[0] == MAGIC ? flags & TOLD : !has_avx);
    if (words[0] != MAGIC)
        return shown;
    EXPECT(words[1] == words[4] + 112 + 4 && (words[2] & 3) == 3);
    memcpy(&end, (const char *)&shown->state + words[4], sizeof end);
    EXPECT(end == MAGIC_END);
    EXPECT(!has_avx || memcmp((const char *)&shown->state + YMM3, high_before, 16) == 0);
    return shown;
}

static void a_handler_sees_the_state(void)
{
    in_every_way(see, expect_state);
}

/* What the kernel takes of the first part, and what of the second. */
static struct shown *change(struct shown *shown)
{
    const long double number = -0.5L;
    shown->control = FRESH;
    shown->status = 2 << 11 | 4 /* a division by zero */;
    shown->tags = 0x0fff; /* six are empty */
    memcpy(shown->st[1], &number, 10);
    shown->state.control = 0x77f;
    memset(shown->state.st, 0xff, sizeof shown->state.st);
    shown->state.mxcsr = FRESH_MXCSR;
    memset(shown->state.xmm[5], 0x11, 16);
    if (has_avx)
        memset((char *)&shown->state + YMM3, 0x22, 16);
    return shown;
}

static void expect_changed(void)
{
    const long double number = -0.5L;
    before.control = FRESH;
    before.status |= 4;
    before.tags = 0xc0;
    before.mxcsr = FRESH_MXCSR;
    memcpy(before.st[1].bytes, &number, 10);
    memset(before.xmm[5], 0x11, 16);
    memset(high_before, 0x22, 16);
    expect_state();
}

static void what_a_handler_changes_is_so(void)
{
    in_every_way(change, expect_changed);
}

/* A context of another place, which knows nothing of what is behind the first vector registers. */
static struct shown *move(struct shown *shown)
{
    static char room[1024] __attribute__((aligned(64)));
    struct shown *moved = (struct shown *)(room + 16);
    *moved = *shown;
    memset(moved->state.xmm[5], 0x11, 16);
    memset(moved->st[1], 0x33, 10);
    memset(shown, 0xff, sizeof *shown);
    return moved;
}

static void expect_moved(void)
{
    memset(before.xmm[5], 0x11, 16);
    memset(before.st[1].bytes, 0x33, 10);
    memset(high_before, 0, 16);
    expect_state();
}

static void a_handler_puts_the_state_elsewhere(void)
{
    in_every_way(move, expect_moved);
}

static struct shown *drop(struct shown *shown)
{
    memset(shown, 0xff, sizeof *shown);
    return NULL;
}

static void expect_none(void)
{
    static const uint8_t none[8][16];
    EXPECT(after.control == FRESH && after.status == 0 && after.tags == 0 && after.mxcsr == FRESH_MXCSR);
    EXPECT(memcmp(after.xmm, none, sizeof none) == 0 && memcmp(high_after, none, 16) == 0);
}

static void a_handler_drops_the_state(void)
{
    in_every_way(drop, expect_none);
}

/* ---- computing ---- */

static double compute(long rounds)
{
    double by_sse = 0;
    long double by_x87 = 0;
    for (long i = 1; i <= rounds; i++) {
        by_sse += 1.0 / (double)i;
        by_x87 += 1.0L / (long double)i;
        if (i % 4096 == 0)
            access("/bin/busybox", F_OK);
    }
    return by_sse + (double)by_x87;
}

static void computing_goes_on(void)
{
    const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    enum { ROUNDS = 3000000 };
    double expected = compute(ROUNDS);
    task = NULL;
    for (int is_new = 0; is_new < 2; is_new++) {
        handle(SIGALRM, is_new, false);
        heard = 0;
        EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
        double result = compute(ROUNDS);
        EXPECT(setitimer(ITIMER_REAL, &never, NULL) == 0);
        EXPECT(heard > 3 && memcmp(&result, &expected, sizeof result) == 0);
    }
}

/* ---- leaving a handler by a jump: the state is the handler's ---- */

static sigjmp_buf place;

static void on_jump(int number)
{
    uint16_t control = CONTROL;
    uint32_t mxcsr = MXCSR;
    (void)number;
    __asm__ volatile("fldcw %0\n\tldmxcsr %1" ::"m"(control), "m"(mxcsr));
    siglongjmp(place, 1);
}

static void a_jump_takes_the_handlers_state(void)
{
    struct sigaction action = {.sa_handler = on_jump};
    uint16_t control = 0, fresh = FRESH;
    uint32_t mxcsr = 0, fresh_mxcsr = FRESH_MXCSR;
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    for (volatile int way = 0; way < WAIT_COUNT * 100; way++) {
        __asm__ volatile("fldcw %0\n\tldmxcsr %1" ::"m"(fresh), "m"(fresh_mxcsr));
        if (sigsetjmp(place, 1) == 0) {
            interrupt_soon();
            WAITS[way % WAIT_COUNT]();
        }
        __asm__ volatile("fnstcw %0\n\tstmxcsr %1" : "=m"(control), "=m"(mxcsr));
        EXPECT(control == CONTROL && mxcsr == MXCSR);
    }
}

/* ---- a division by zero that is a signal ---- */

static struct shown *forgive(struct shown *shown)
{
    shown->status &= ~0xffu;
    shown->control |= 0x3f;
    shown->state.mxcsr = (shown->state.mxcsr | 0x1f80) & ~0x3fu;
    return shown;
}

static void a_division_is_forgiven(void)
{
    const uint16_t strict = FRESH & ~4;
    const uint32_t strict_mxcsr = FRESH_MXCSR & ~0x200;
    const double one = 1, none = 0;
    double by_x87 = 0, by_sse = 0;
    task = forgive;
    for (int is_new = 0; is_new < 2; is_new++) {
        handle(SIGFPE, is_new, false);
        heard = 0;
        __asm__ volatile("fldcw %1\n\tfldl %2\n\tfdivl %3\n\tfwait\n\tfstpl %0"
                         : "=m"(by_x87)
                         : "m"(strict), "m"(one), "m"(none));
        EXPECT(heard == 1);
        __asm__ volatile("ldmxcsr %1\n\tmovsd %2, %%xmm1\n\tdivsd %3, %%xmm1\n\tmovsd %%xmm1, %0"
                         : "=m"(by_sse)
                         : "m"(strict_mxcsr), "m"(one), "m"(none)
                         : "xmm1");
        EXPECT(heard == 2 && by_sse == 1 / none);
    }
}

static const struct check CHECKS[] = {
    {"kept", after_a_handler_all_is_as_before},
    {"computing", computing_goes_on},
    {"jumps", a_jump_takes_the_handlers_state},
    {"shown", a_handler_sees_the_state},
    {"changed", what_a_handler_changes_is_so},
    {"forgiven", a_division_is_forgiven},
    {"moved", a_handler_puts_the_state_elsewhere},
    {"dropped", a_handler_drops_the_state},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
