/* Calls of 32-bit numbers, made by a program of 64 bits: their answers in one line. */

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static long gate(long number, long one, long two)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "0"(number), "b"(one), "c"(two)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}

int main(void)
{
    static const long numbers[] = {
        5 /* open */, 10 /* unlink */, 11 /* execve */, 67 /* sigaction */, 102 /* socketcall */, 119 /* sigreturn */,
        425 /* io_uring_setup */, 435 /* clone3 */,
    };
    char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    strcpy(low, "/etc/passwd");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        printf("%ld ", gate(numbers[i], (long)low, 0));
    return 0;
}
