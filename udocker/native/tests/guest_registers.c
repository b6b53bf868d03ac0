/* A program's registers, where an engine stands between it and its kernel: guest.h. */

#include <stdint.h>

#include "guest.h"

/* Registers of every kind are what they were, by a call whose site no engine can rewrite. */
#ifdef __i386__
static void registers_after_a_call(void)
{
    struct {
        uint32_t result, bx, cx, dx, si, di, bp, low, high, gs_before, gs;
    } after;
    static const char path[] = "/bin/busybox";
    for (int i = 0; i < 200; i++) {
        void *at = &after;
        const char *name = path;
        memset(&after, 0, sizeof after);
        __asm__ volatile("push %%ebp\n\t"
                         "push %%ebx\n\t"
                         "push %%eax\n\t"
                         "mov %%gs, 36(%%eax)\n\t"
                         "mov $0x11223344, %%ebp\n\t"
                         "movd %%ebp, %%xmm7\n\t"
                         "pslldq $8, %%xmm7\n\t"
                         "mov %%edx, %%ebx\n\t"
                         "mov $0, %%ecx\n\t"
                         "mov $0x55667788, %%edx\n\t"
                         "mov $0x66778899, %%esi\n\t"
                         "mov $0x778899aa, %%edi\n\t"
                         "mov $33, %%eax\n\t" /* access */
                         "std\n\t"
                         "int $0x80\n\t"
                         "cld\n\t"
                         "xchg %%eax, (%%esp)\n\t"
                         "mov %%ebx, 4(%%eax)\n\t"
                         "mov %%ecx, 8(%%eax)\n\t"
                         "mov %%edx, 12(%%eax)\n\t"
                         "mov %%esi, 16(%%eax)\n\t"
                         "mov %%edi, 20(%%eax)\n\t"
                         "mov %%ebp, 24(%%eax)\n\t"
                         "movd %%xmm7, 28(%%eax)\n\t"
                         "psrldq $8, %%xmm7\n\t"
                         "movd %%xmm7, 32(%%eax)\n\t"
                         "mov %%gs, 40(%%eax)\n\t"
                         "pop (%%eax)\n\t"
                         "pop %%ebx\n\t"
                         "pop %%ebp"
                         : "+a"(at), "+d"(name)
                         :
                         : "ecx", "esi", "edi", "xmm7", "memory");
        EXPECT(after.result == 0 && after.bx == (uint32_t)path && after.cx == 0 && after.dx == 0x55667788);
        EXPECT(after.si == 0x66778899 && after.di == 0x778899aa && after.bp == 0x11223344);
        EXPECT(after.low == 0 && after.high == 0x11223344 && (uint16_t)after.gs == (uint16_t)after.gs_before);
    }
}
#else
static void registers_after_a_call(void)
{
    long result, low = 0, high = 0, kept = 0;
    const char *path = "/bin/busybox";
    for (int i = 0; i < 200; i++) {
        __asm__ volatile("mov $0x1122334455667788, %%rbx\n\t"
                         "movq %%rbx, %%xmm7\n\t"
                         "pslldq $8, %%xmm7\n\t"
                         "mov $21, %%eax\n\t"
                         "nop\n\t"
                         "std\n\t"
                         "syscall\n\t"
                         "cld\n\t"
                         "movq %%xmm7, %1\n\t"
                         "psrldq $8, %%xmm7\n\t"
                         "movq %%xmm7, %2\n\t"
                         "mov %%rbx, %3"
                         : "=&a"(result), "=&r"(low), "=&r"(high), "=&r"(kept)
                         : "D"(path), "S"(0l)
                         : "rbx", "rcx", "r11", "xmm7", "memory");
        EXPECT(result == 0 && low == 0 && high == 0x1122334455667788 && kept == 0x1122334455667788);
    }
}
#endif

static const struct check CHECKS[] = {
    {"registers", registers_after_a_call},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
