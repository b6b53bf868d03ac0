/* System calls and bytes without a C library: for code that runs inside somebody else's process.
 *
 * Nothing here allocates, keeps state or touches errno: calls return the kernel's own value, -errno for a
 * failure (syscall(2), intro(2)).
 */
#ifndef PATH_SYS_H
#define PATH_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)

static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

#else
#error "no system calls for this machine yet"
#endif

/* The arguments of a call as the kernel takes them; pointers and numbers alike. */
#define SYS_ARGUMENT(value) ((long)(value))
#define sys_call0(number) sys_call6(number, 0, 0, 0, 0, 0, 0)
#define sys_call1(number, a) sys_call6(number, SYS_ARGUMENT(a), 0, 0, 0, 0, 0)
#define sys_call2(number, a, b) sys_call6(number, SYS_ARGUMENT(a), SYS_ARGUMENT(b), 0, 0, 0, 0)
#define sys_call3(number, a, b, c) \
    sys_call6(number, SYS_ARGUMENT(a), SYS_ARGUMENT(b), SYS_ARGUMENT(c), 0, 0, 0)
#define sys_call4(number, a, b, c, d) \
    sys_call6(number, SYS_ARGUMENT(a), SYS_ARGUMENT(b), SYS_ARGUMENT(c), SYS_ARGUMENT(d), 0, 0)
#define sys_call5(number, a, b, c, d, e) \
    sys_call6(number, SYS_ARGUMENT(a), SYS_ARGUMENT(b), SYS_ARGUMENT(c), SYS_ARGUMENT(d), SYS_ARGUMENT(e), 0)

static inline size_t bytes_length(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

/* Forwards, a word at a time: right as well where the target overlaps the source from below. */
static inline void bytes_copy(char *target, const char *source, size_t size)
{
    size_t i = 0;
    for (uint64_t word; i + sizeof word <= size; i += sizeof word) {
        __builtin_memcpy(&word, source + i, sizeof word);
        __builtin_memcpy(target + i, &word, sizeof word);
    }
    for (; i < size; i++)
        target[i] = source[i];
}

/* The same where the two overlap. */
static inline void bytes_move(char *target, const char *source, size_t size)
{
    if (target <= source) {
        bytes_copy(target, source, size);
        return;
    }
    while (size-- > 0)
        target[size] = source[size];
}

static inline int bytes_equal(const char *one, const char *other, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (one[i] != other[i])
            return 0;
    return 1;
}

#endif
