/* What compilers call behind our back, even without a C library: GCC's manual, "Standards", 2.2. */

#include <stddef.h>

__attribute__((visibility("hidden"))) void *memset(void *target, int byte, size_t size);
__attribute__((visibility("hidden"))) void *memcpy(void *target, const void *source, size_t size);

/* In assembly, lest the compiler make calls of these very functions out of loops. */
void *memset(void *target, int byte, size_t size)
{
    void *at = target;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(byte) : "memory");
    return target;
}

void *memcpy(void *target, const void *source, size_t size)
{
    void *at = target;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(source), "+c"(size) : : "memory");
    return target;
}
