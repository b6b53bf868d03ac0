/* The state of the floating-point unit in the frame of a 32-bit handler.
 *
 * The kernel puts the same area into a frame of either kind (fxsave, and what xsave adds behind it); before that of a 32-bit
 * handler lies the older form of fsave, which it then believes about the eight registers and their control.  The area
 * stays where the kernel has put it, for it may be larger than a small stack; where that is the engine's stack, which a
 * 32-bit program has no address for, it is copied.
 */

#include <errno.h>

#include "i386.h"

enum {
    MAGIC = 0x46505853, /* FP_XSTATE_MAGIC1: something is behind fxsave's area */
    AREA_ALIGN = 64,
    MAGIC_SIZE = 4,     /* FP_XSTATE_MAGIC2, behind all */
    UNUSED = 0xffff0000, /* of words that hold 16 bits */
};

/* <asm/sigcontext.h>, as the two after it. */
struct unit {
    uint16_t control, status;
    uint8_t tags, none;
    uint16_t opcode;
    uint64_t ip, data;
    uint32_t mxcsr, mask;
    struct {
        uint8_t number[10], none[6];
    } registers[8];
    uint8_t vectors[304];
    uint32_t magic, extended_size;
    uint64_t features;
    uint32_t size, rest[7];
};

struct older {
    uint32_t control, status, tags, ip, code, data, data_segment;
    uint8_t registers[8][10];
    uint16_t status_again, magic; /* 0 where an area is behind */
};
_Static_assert(sizeof(struct unit) == 512 && offsetof(struct unit, magic) == 464 && sizeof(struct older) == 112,
               "as the kernel has them");

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY, REGISTERS = 8 };

static uint32_t tag_of(const uint8_t number[10])
{
    uint64_t fraction;
    bytes_copy((char *)&fraction, (const char *)number, sizeof fraction);
    unsigned exponent = (number[9] & 0x7fu) << 8 | number[8];
    if (exponent == 0 && fraction == 0)
        return TAG_ZERO;
    return exponent == 0 || exponent == 0x7fff || !(fraction >> 63) ? TAG_SPECIAL : TAG_VALID;
}

/* Two bits for each register by its number, of which the area holds one; there the registers lie in the order of their stack. */
static uint32_t tags_widen(const struct unit *unit)
{
    uint32_t tags = 0;
    unsigned top = unit->status >> 11 & 7;
    for (unsigned i = 0; i < REGISTERS; i++) {
        bool is_used = unit->tags >> i & 1;
        tags |= (is_used ? tag_of(unit->registers[(i - top) & 7].number) : TAG_EMPTY) << 2 * i;
    }
    return tags;
}

static uint8_t tags_narrow(uint32_t wide)
{
    unsigned tags = 0;
    for (unsigned i = 0; i < REGISTERS; i++)
        tags |= ((wide >> 2 * i & 3) != TAG_EMPTY) << i;
    return (uint8_t)tags;
}

static void older_write(struct older *older, const struct unit *unit)
{
    *older = (struct older){
        .control = UNUSED | unit->control,
        .status = UNUSED | unit->status,
        .tags = UNUSED | tags_widen(unit),
        .ip = (uint32_t)unit->ip,
        .code = I386_CODE | (uint32_t)unit->opcode << 16,
        .data = (uint32_t)unit->data,
        .data_segment = UNUSED | I386_DATA,
        .status_again = unit->status,
    };
    for (unsigned i = 0; i < REGISTERS; i++)
        bytes_copy((char *)older->registers[i], (const char *)unit->registers[i].number, sizeof older->registers[i]);
}

static void older_read(const struct older *older, struct unit *unit)
{
    unit->control = (uint16_t)older->control;
    unit->status = (uint16_t)older->status;
    unit->tags = tags_narrow(older->tags);
    unit->opcode = (uint16_t)(older->code >> 16);
    unit->ip = older->ip;
    unit->data = older->data;
    for (unsigned i = 0; i < REGISTERS; i++)
        bytes_copy((char *)unit->registers[i].number, (const char *)older->registers[i], sizeof older->registers[i]);
}

static size_t area_size(const struct unit *unit)
{
    return unit->magic == MAGIC ? unit->size + MAGIC_SIZE : sizeof *unit;
}

/* What lies before the area is the signal's siginfo, which nobody needs any more. */
static bool has_room_before(uintptr_t area, const siginfo_t *information)
{
    uintptr_t start = (uintptr_t)information;
    return area < I386_END && start <= area - sizeof(struct older) && start + sizeof *information <= area;
}

uint32_t i386_floats_show(const ucontext_t *context, const siginfo_t *information, uintptr_t *end)
{
    struct unit *unit = (struct unit *)context->uc_mcontext.fpregs;
    uintptr_t area = (uintptr_t)unit;
    if (!unit)
        return 0;
    if (!has_room_before(area, information)) {
        area = (*end - area_size(unit)) & ~(uintptr_t)(AREA_ALIGN - 1);
        bytes_copy((char *)area, (const char *)unit, area_size(unit));
        unit = (struct unit *)area;
        *end = area - sizeof(struct older);
    }
    if (unit->magic == MAGIC)
        unit->extended_size += sizeof(struct older);
    older_write((struct older *)(area - sizeof(struct older)), unit);
    return (uint32_t)(area - sizeof(struct older));
}

/* What is not as large as what was given counts as fxsave's alone; that all of it is there the kernel asks itself. */
static int area_read(struct unit *unit, uintptr_t area)
{
    size_t size = area_size(unit);
    if (user_read(unit, (const void *)area, sizeof *unit) < 0)
        return -EFAULT;
    if (area_size(unit) != size || user_read(unit + 1, (const void *)(area + sizeof *unit), size - sizeof *unit) < 0)
        unit->magic = 0;
    return 0;
}

int i386_floats_take(ucontext_t *context, uint32_t place)
{
    struct unit *unit = (struct unit *)context->uc_mcontext.fpregs;
    struct older older;
    if (!place)
        context->uc_mcontext.fpregs = NULL; /* a fresh state, as a program begins with */
    if (!unit || !place)
        return 0;
    if (user_read(&older, (const void *)(uintptr_t)place, sizeof older) < 0)
        return -EFAULT;
    uintptr_t area = place + sizeof older;
    int result = area == (uintptr_t)unit ? 0 : area_read(unit, area);
    older_read(&older, unit);
    return result;
}
