/* Programs for another machine: an emulator of the host's runs them, as a program of the container like any other, so
 * that what they ask of the kernel is translated as ever.
 */

#include <elf.h>
#include <errno.h>

#include "trap.h"

/* "MACHINE:PATH": the number that elf(5) gives the machine, and a static program of the host. */
int foreign_take(const char *text)
{
    struct emulator *emulator = &engine.emulator;
    const char *at = text;
    emulator->text = engine_keep(text);
    if (!emulator->text)
        return -ENAMETOOLONG;
    for (emulator->machine = 0; *at >= '0' && *at <= '9' && emulator->machine < 1 << 16; at++)
        emulator->machine = emulator->machine * 10 + (unsigned)(*at - '0');
    if (at == text || at[0] != ':' || at[1] != '/')
        return -EINVAL;
    emulator->path = emulator->text + (at - text) + 1;
    return 0;
}

/* The fields in front are of the same size for 32 and 64 bits. */
bool foreign_is(const void *start)
{
    const unsigned char *identity = start, *machine = identity + offsetof(Elf64_Ehdr, e_machine);
    unsigned number = identity[EI_DATA] == ELFDATA2MSB ? (unsigned)machine[0] << 8 | machine[1]
                                                       : (unsigned)machine[1] << 8 | machine[0];
    return engine.emulator.path && bytes_equal(start, ELFMAG, SELFMAG) && number == engine.emulator.machine;
}

void foreign_begin(const char *program)
{
    size_t length = bytes_length(program) + 1;
    engine.emulator.is_here = engine.emulator.path && bytes_equal(program, engine.emulator.path, length);
}

/* An emulator blocks all signals in the mask that its handlers return to, until the emulated program has been told
 * (qemu's host_signal_handler); SIGSYS is left out of that on the way back.  Other programs keep the return of their C
 * library, by whose bytes debuggers and exceptions know a signal's frame.
 */
__attribute__((visibility("hidden"))) void foreign_return(void);
__asm__(".text\n"
        ".globl foreign_return\n"
        ".hidden foreign_return\n"
        "foreign_return:\n"
        "    andb $0xbf, 0x12b(%rsp)\n" /* bit 30 of uc_sigmask in struct ucontext */
        "    mov $15, %eax\n"           /* rt_sigreturn(2) */
        "    syscall\n");
_Static_assert(offsetof(ucontext_t, uc_sigmask) == 0x128 && SIGSYS == 31 && SYS_rt_sigreturn == 15, "see above");

void foreign_action(struct disposition *action)
{
    if (engine.emulator.is_here && (action->flags & 0x04000000 /* SA_RESTORER */))
        action->restorer = (void *)foreign_return;
}

/* Puts the emulator before a program's arguments, which end at `count`; how many they are now.  qemu takes what the
 * program is to see for its own name after -0. */
size_t foreign_wrap(const char **arguments, size_t count, const char *program)
{
    for (size_t i = count; i > 1; i--)
        arguments[i - 1 + FOREIGN_WORDS] = arguments[i - 1];
    arguments[2] = arguments[0];
    arguments[0] = engine.emulator.path;
    arguments[1] = "-0";
    arguments[3] = program;
    return count + FOREIGN_WORDS;
}
