/* What a signal's handler sees of the floating-point state of a 32-bit program, and what becomes of that: guest.h. */

#include "i386_handlers.h"

static struct state before, after;
static uint8_t high_before[16], high_after[16]; /* the upper half of ymm3 */

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
        interrupt_every(10000);
        wait_with(WAITS[way / 4]);
        interrupt_no_more();
        EXPECT(heard > 0);
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

static const struct check CHECKS[] = {
    {"kept", after_a_handler_all_is_as_before},
    {"shown", a_handler_sees_the_state},
    {"changed", what_a_handler_changes_is_so},
    {"moved", a_handler_puts_the_state_elsewhere},
    {"dropped", a_handler_drops_the_state},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
