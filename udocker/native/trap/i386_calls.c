/* The calls of 32-bit programs: found in the table of i386.def, and made as the call of 64 bits that does the same. */

#include <errno.h>
#include <sys/prctl.h>

#include "../path/numbers.h"
#include "i386.h"

#define ALWAYS I386_ALWAYS
#define MASKS I386_MASKS
#define CHANGES I386_CHANGES
#define ROOT I386_ROOT
#define HEAP I386_HEAP
#define ASKED I386_ASKED
#define SCHEDULING I386_SCHEDULING
#define same NULL

const struct i386_entry i386_table[] = {
#define I386(number, name, twin, when, make) {number, SYS_##twin, when, make},
#include "i386.def"
#undef I386
};
const size_t i386_count = sizeof i386_table / sizeof *i386_table;

/* Numbers to places in the table, plus one. */
enum place {
    PLACE_NONE,
#define I386(number, name, ...) PLACE_##name,
#include "i386.def"
#undef I386
};

static const uint8_t PLACES[512] = {
#define I386(number, name, ...) [number] = PLACE_##name,
#include "i386.def"
#undef I386
};
_Static_assert(sizeof i386_table / sizeof *i386_table < 256, "a place is a byte");

static const struct i386_entry *entry_of(long number)
{
    bool is_known = number >= 0 && (size_t)number < sizeof PLACES && PLACES[number];
    return is_known ? &i386_table[PLACES[number] - 1] : NULL;
}

bool i386_is_exec(long number)
{
    const struct i386_entry *entry = entry_of(number);
    return entry && (entry->twin == SYS_execve || entry->twin == SYS_execveat);
}

void i386_take(struct visit *visit)
{
    const long registers[6] = {visit->bx, visit->cx, visit->dx, visit->si, visit->di, visit->bp};
    visit->call.number = (uint32_t)visit->ax;
    for (int i = 0; i < 6; i++)
        visit->call.arguments[i] = (uint32_t)registers[i];
    visit->call.i386 = visit;
}

long i386_as(const struct trapped *call, long number, const long *arguments)
{
    struct trapped twin = *call;
    twin.number = number;
    twin.i386 = NULL;
    for (int i = 0; i < 6; i++)
        twin.arguments[i] = arguments[i];
    return signal_is_call(number) ? signal_call(&twin) : engine_call(&twin);
}

/* The registers of i386's calls, and the others, which kernels before 4.17 do not keep. */
__attribute__((visibility("hidden"))) long i386_gate(long number, const long *arguments);
__asm__(".text\n"
        ".globl i386_gate\n"
        ".hidden i386_gate\n"
        "i386_gate:\n"
        "    push %rbx\n"
        "    push %rbp\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %edi, %eax\n"
        "    mov %rsi, %r8\n"
        "    mov 0(%r8), %ebx\n"
        "    mov 8(%r8), %ecx\n"
        "    mov 16(%r8), %edx\n"
        "    mov 24(%r8), %esi\n"
        "    mov 32(%r8), %edi\n"
        "    mov 40(%r8), %ebp\n"
        "    int $0x80\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbp\n"
        "    pop %rbx\n"
        "    ret\n");

long i386_raw(long number, const long *arguments)
{
    long result = (uint32_t)i386_gate(number, arguments);
    return result > 0xfffff000l ? (int32_t)result : result;
}

uintptr_t i386_lend(const struct trapped *call, size_t size)
{
    struct visit *visit = call->i386;
    uintptr_t end = (uint32_t)visit->sp & ~15u;
    if (end < size + visit->lent)
        return 0;
    uintptr_t start = (end - visit->lent - size) & ~(uintptr_t)15;
    const char zero = 0;
    visit->lent = (uintptr_t)(uint32_t)visit->sp - start;
    for (uintptr_t page = start; page < end; page += 4096)
        if (user_write((void *)page, &zero, 1) < 0)
            return 0;
    return user_write((void *)(end - 1), &zero, 1) < 0 ? 0 : start;
}

/* What a kernel says of a call that it does not have, or that nobody makes since Linux 2.4: they are of structures with
 * 16 bits for a user, an inode or a name. */
I386_MAKES(i386_gone)
{
    (void)entry, (void)call;
    return -ENOSYS;
}

/* Options that point to structures, which differ, are the kernel's own affair. */
I386_MAKES(i386_prctl)
{
    long option = call->arguments[0];
    bool is_number = option == PR_CAPBSET_READ || option == PR_CAPBSET_DROP || option == PR_SET_KEEPCAPS ||
                     option == PR_GET_KEEPCAPS || option == PR_SET_SECUREBITS || option == PR_GET_SECUREBITS ||
                     option == PR_CAP_AMBIENT || option == PR_SET_DUMPABLE || option == PR_GET_DUMPABLE;
    return is_number ? i386_as(call, entry->twin, call->arguments) : i386_raw(call->number, call->arguments);
}

long i386_call(struct trapped *call)
{
    const struct i386_entry *entry = entry_of(call->number);
    if (!engine.i386)
        return -ENOSYS; /* a program of 64 bits makes none */
    if (!entry) /* trapped by a filter of the guest's own */
        return i386_raw(call->number, call->arguments);
    return entry->make ? entry->make(entry, call) : i386_as(call, entry->twin, call->arguments);
}
