/* A program whose stack is marked executable (elf(5), PT_GNU_STACK): it runs what it writes there.  guest.h */

#include "guest.h"

static int call_once(int value)
{
    /* lea 1(%rdi), %eax; ret */
#ifdef __i386__
    volatile unsigned char code[] = {0x8b, 0x44, 0x24, 0x04, 0x40, 0xc3};
#else
    volatile unsigned char code[] = {0x8d, 0x47, 0x01, 0xc3};
#endif
    int (*function)(int);
    void *address = (void *)(unsigned long)code;
    memcpy(&function, &address, sizeof function);
    return function(value);
}

static void code_on_the_stack(void)
{
    EXPECT(call_once(41) == 42);
}

static const struct check CHECKS[] = {{"executable-stack", code_on_the_stack}};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
