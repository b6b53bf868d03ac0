/* A 32-bit program that computes while signals' handlers do: guest.h. */

#include <setjmp.h>

#include "i386_handlers.h"

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
    enum { ROUNDS = 3000000 };
    double expected = compute(ROUNDS);
    task = NULL;
    for (int is_new = 0; is_new < 2; is_new++) {
        handle(SIGALRM, is_new, false);
        interrupt_every(500);
        double result = compute(ROUNDS);
        interrupt_no_more();
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
    for (volatile int way = 0; way < WAIT_COUNT * 20; way++) {
        __asm__ volatile("fldcw %0\n\tldmxcsr %1" ::"m"(fresh), "m"(fresh_mxcsr));
        if (sigsetjmp(place, 1) == 0) {
            interrupt_every(10000);
            WAITS[way % WAIT_COUNT]();
        }
        interrupt_no_more();
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
    {"computing", computing_goes_on},
    {"jumps", a_jump_takes_the_handlers_state},
    {"forgiven", a_division_is_forgiven},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
