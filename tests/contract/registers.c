/* A system call leaves every register as it is but rax, rcx and r11: System V ABI for x86-64, A.2.1; and the
 * kernel keeps those of SSE.  Status 0, or a line that names one that changed. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { VECTORS = 16, GENERAL = 7 };

static uint8_t before[VECTORS][16], after[VECTORS][16];
static uint64_t general[GENERAL];

/* stat(2), by a place that is patched after its first trap. */
static __attribute__((noinline)) long call(const char *path, struct stat *info)
{
    long result;
    register long r8 __asm__("r8") = 0x8888, r9 __asm__("r9") = 0x9999, r10 __asm__("r10") = 0x1010;
    register long r12 __asm__("r12") = 0x1212, r13 __asm__("r13") = 0x1313;
    __asm__ volatile(
#define LOAD(n) "movdqu " #n "*16(%[before]), %%xmm" #n "\n\t"
#define SAVE(n) "movdqu %%xmm" #n ", " #n "*16(%[after])\n\t"
        LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(4) LOAD(5) LOAD(6) LOAD(7)
        LOAD(8) LOAD(9) LOAD(10) LOAD(11) LOAD(12) LOAD(13) LOAD(14) LOAD(15)
        ".balign 16\n\t"
        "mov $4, %%eax\n\t" /* SYS_stat */
        "syscall\n\t"
        SAVE(0) SAVE(1) SAVE(2) SAVE(3) SAVE(4) SAVE(5) SAVE(6) SAVE(7)
        SAVE(8) SAVE(9) SAVE(10) SAVE(11) SAVE(12) SAVE(13) SAVE(14) SAVE(15)
        : "=&a"(result), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r12), "+r"(r13)
        : "D"(path), "S"(info), [before] "b"(before), [after] "d"(after)
        : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
          "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    const uint64_t now[GENERAL] = {(uint64_t)r8, (uint64_t)r9, (uint64_t)r10, (uint64_t)r12, (uint64_t)r13};
    memcpy(general, now, sizeof now);
    return result;
}

int main(void)
{
    static const uint64_t wanted[GENERAL] = {0x8888, 0x9999, 0x1010, 0x1212, 0x1313};
    static const char *const paths[] = {"/etc/passwd", "/bin/../etc/passwd", "/nothing-with-a-name-that-is-long-enough-to-be-copied-sixteen-bytes-at-a-time-by-a-compiler", "/bin/sh"};
    struct stat info;
    for (int i = 0; i < VECTORS; i++)
        memset(before[i], 0xa0 + i, sizeof before[i]);
    for (int turn = 0; turn < 12; turn++) {
        long result = call(paths[turn % 4], &info);
        if ((turn % 4 == 2) != (result < 0)) {
            printf("stat %s: %ld\n", paths[turn % 4], result);
            return 1;
        }
        for (int i = 0; i < VECTORS; i++)
            if (memcmp(before[i], after[i], sizeof before[i]) != 0) {
                printf("xmm%d changed in turn %d\n", i, turn);
                return 1;
            }
        if (memcmp(general, wanted, sizeof wanted) != 0) {
            printf("a general register changed in turn %d\n", turn);
            return 1;
        }
    }
    return 0;
}
