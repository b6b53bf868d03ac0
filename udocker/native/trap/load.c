/* Loading a program as the kernel would: elf(5). */

#include <errno.h>
#include <stdalign.h>
#include <sys/mman.h>

#include "headers.h"
#include "i386.h"

enum { PAGE = 4096, NOT_OVER_OTHERS = 0x100000 /* MAP_FIXED_NOREPLACE */ };

static uintptr_t page_down(uintptr_t address)
{
    return address & ~(uintptr_t)(PAGE - 1);
}

static uintptr_t page_up(uintptr_t address)
{
    return page_down(address + PAGE - 1);
}


static int protection(const Elf64_Phdr *part)
{
    return (part->p_flags & PF_R ? PROT_READ : 0) | (part->p_flags & PF_W ? PROT_WRITE : 0) |
           (part->p_flags & PF_X ? PROT_EXEC : 0);
}

static long map(uintptr_t address, size_t size, int protect, int flags, int file, uint64_t offset)
{
    long place = sys_call6(SYS_mmap, (long)address, (long)size, protect, MAP_PRIVATE | flags, file, (long)offset);
    return place;
}

static bool is_error(long place)
{
    return place < 0 && place > -PAGE;
}

struct extent {
    uintptr_t low, high, align;
};

static struct extent extent_of(const struct file *file)
{
    struct extent extent = {-1ul, 0, PAGE};
    for (int i = 0; i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type != PT_LOAD)
            continue;
        extent.low = part->p_vaddr < extent.low ? part->p_vaddr : extent.low;
        extent.high = part->p_vaddr + part->p_memsz > extent.high ? part->p_vaddr + part->p_memsz : extent.high;
        extent.align = part->p_align > extent.align ? part->p_align : extent.align;
    }
    extent.low = page_down(extent.low);
    extent.high = page_up(extent.high);
    return extent;
}

/* ---- where a program lies: as the kernel would put it, so that its heap has room to grow, and what looks for a
 * program there (sanitizers, debuggers) finds it ---- */

#define DYNAMIC_BASE 0x555555554000ul /* ELF_ET_DYN_BASE */
#define DYNAMIC_BASE_I386 0x56555000ul
enum {
    RANDOM_PAGES = 1 << 28,
    RANDOM_PAGES_I386 = 1 << 8,
    RANDOM_HEAP_PAGES = 1 << 13,
    NO_RANDOM = 0x0040000 /* ADDR_NO_RANDOMIZE */
};

static uintptr_t dynamic_base(const struct file *file)
{
    return file->i386 ? DYNAMIC_BASE_I386 : DYNAMIC_BASE;
}

/* How far a program and its heap lie from where they would without chance. */
struct offsets {
    uintptr_t program, heap;
};

static struct offsets offsets_choose(uint32_t pages)
{
    uint32_t values[2] = {0};
    if (sys_call1(SYS_personality, 0xffffffff) & NO_RANDOM)
        return (struct offsets){0, 0};
    sys_call3(SYS_getrandom, values, sizeof values, 1 /* GRND_NONBLOCK */);
    return (struct offsets){(uintptr_t)(values[0] % pages) * PAGE, (uintptr_t)(values[1] % RANDOM_HEAP_PAGES) * PAGE};
}

/* What the room of a whole program is made of: nothing, or of the first segment, which saves a call. */
struct filling {
    int protect, flags, file;
    uint64_t offset;
    bool is_first;
};

/* Every page belongs to a segment, in their order: nothing of the file would show that is in none. */
static bool is_dense(const struct file *file)
{
    uintptr_t end = 0;
    for (int i = 0; i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type != PT_LOAD)
            continue;
        if (part->p_filesz == 0 || (end && page_down(part->p_vaddr) > page_up(end)))
            return false;
        end = part->p_vaddr + part->p_memsz;
    }
    return true;
}

static struct filling filling_of(const struct file *file, const struct extent *extent)
{
    struct filling nothing = {PROT_NONE, MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, false};
    int i = 0;
    while (i < file->header.e_phnum && file->parts[i].p_type != PT_LOAD)
        i++;
    const Elf64_Phdr *first = &file->parts[i];
    if (file->i386 || i == file->header.e_phnum || extent->align > PAGE || page_down(first->p_vaddr) != extent->low ||
        (first->p_flags & PF_W) || first->p_memsz != first->p_filesz || !is_dense(file))
        return nothing;
    uint64_t offset = first->p_offset - (first->p_vaddr - extent->low);
    return (struct filling){protection(first), 0, file->number, offset, true};
}

static long fill(uintptr_t address, size_t size, int flags, const struct filling *filling)
{
    return map(address, size, filling->protect, filling->flags | flags, filling->file, filling->offset);
}

static bool fill_at(uintptr_t address, size_t size, const struct filling *filling)
{
    long place = fill(address, size, NOT_OVER_OTHERS, filling);
    if (place == (long)address)
        return true;
    if (!is_error(place))
        sys_call2(SYS_munmap, place, size); /* a kernel before 4.17 takes the address for a wish */
    return false;
}

/* Anywhere, aligned as the program wants it. */
static int fill_anywhere(const struct file *file, struct extent extent, const struct filling *filling, uintptr_t *start)
{
    size_t size = extent.high - extent.low, more = extent.align > PAGE ? extent.align : 0;
    long place = file->i386 ? i386_map(size + more) : fill(0, size + more, 0, filling);
    if (is_error(place))
        return (int)place;
    *start = ((uintptr_t)place + extent.align - 1) & ~(extent.align - 1);
    uintptr_t end = (uintptr_t)place + size + more;
    if (*start > (uintptr_t)place)
        sys_call2(SYS_munmap, place, *start - (uintptr_t)place);
    if (end > *start + size)
        sys_call2(SYS_munmap, *start + size, end - (*start + size));
    return 0;
}

/* Room for the whole program; `bias` is what is added to its addresses, `wanted` where a dynamic one is to be, 0 for
 * anywhere. */
static int room_take(const struct file *file, const struct extent *extent, const struct filling *filling,
                     uintptr_t wanted, uintptr_t *bias)
{
    if (extent->low >= extent->high || (extent->align & (extent->align - 1)))
        return -ENOEXEC;
    size_t size = extent->high - extent->low;
    *bias = 0;
    if (file->header.e_type == ET_EXEC)
        return fill_at(extent->low, size, filling) ? 0 : -ENOMEM;
    uintptr_t start = (wanted + extent->align - 1) & ~(extent->align - 1);
    int result = wanted && fill_at(start, size, filling) ? 0 : fill_anywhere(file, *extent, filling, &start);
    *bias = start - extent->low;
    return result;
}

/* One segment: what the file has, unless that is mapped already, then zeros. */
static int part_map(const struct file *file, const Elf64_Phdr *part, uintptr_t bias, bool is_mapped)
{
    uintptr_t start = page_down(part->p_vaddr) + bias;
    uintptr_t data = part->p_vaddr + part->p_filesz + bias, end = part->p_vaddr + part->p_memsz + bias;
    uintptr_t mapped = part->p_filesz ? page_up(data) : start;
    if (part->p_filesz > part->p_memsz)
        return -ENOEXEC;
    if (part->p_filesz && !is_mapped) {
        uint64_t offset = part->p_offset - (part->p_vaddr - page_down(part->p_vaddr));
        long place = map(start, data - start, protection(part), MAP_FIXED, file->number, offset);
        if (is_error(place))
            return (int)place;
        /* What is left of the last page would show the file's next bytes. */
        if (end > data && (part->p_flags & PF_W))
            for (char *byte = (char *)data; byte < (char *)mapped; byte++)
                *byte = 0;
    }
    if (end > mapped) {
        long place = map(mapped, end - mapped, protection(part), MAP_FIXED | MAP_ANONYMOUS, -1, 0);
        if (is_error(place))
            return (int)place;
    }
    return 0;
}

static void part_describe(const Elf64_Phdr *part, uintptr_t bias, struct image *image)
{
    uintptr_t start = part->p_vaddr + bias, end = start + part->p_filesz;
    bool code = part->p_flags & PF_X;
    if (code && (image->code_end == 0 || start < image->code_start))
        image->code_start = start;
    if (code && end > image->code_end)
        image->code_end = end;
    image->data_start = start > image->data_start ? start : image->data_start;
    image->data_end = end > image->data_end ? end : image->data_end;
}

static int file_map(const struct file *file, enum load_as as, struct image *image)
{
    struct extent extent = extent_of(file);
    struct filling filling = filling_of(file, &extent);
    struct offsets offsets = {0, 0};
    if (as != LOAD_INTERPRETER)
        offsets = offsets_choose(file->i386 ? RANDOM_PAGES_I386 : RANDOM_PAGES);
    uintptr_t bias, wanted = as == LOAD_WITH_INTERPRETER ? dynamic_base(file) + offsets.program : 0;
    int result = room_take(file, &extent, &filling, wanted, &bias);
    *image = (struct image){
        .base = bias,
        .entry = file->header.e_entry + bias,
        .header_count = file->header.e_phnum,
        .i386 = file->i386,
    };
    bool is_mapped = filling.is_first;
    for (int i = 0; result == 0 && i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type == PT_GNU_STACK)
            image->executable_stack = part->p_flags & PF_X;
        if (part->p_type != PT_LOAD)
            continue;
        result = part_map(file, part, bias, is_mapped);
        is_mapped = false;
        part_describe(part, bias, image);
        if (!image->headers && file->header.e_phoff >= part->p_offset &&
            file->header.e_phoff < part->p_offset + part->p_filesz)
            image->headers = file->header.e_phoff - part->p_offset + part->p_vaddr + bias;
    }
    /* The heap of a program that lies among the libraries would have no room behind it. */
    bool among_others = file->header.e_type == ET_DYN && as == LOAD_ALONE;
    if (result == 0)
        image->brk = (among_others ? dynamic_base(file) : extent.high + bias) + offsets.heap;
    return result;
}

static int load(long number, enum load_as as, Elf64_Phdr *room, struct image *image)
{
    alignas(Elf64_Phdr) char start[LOAD_START];
    struct file file = {.number = (int)number, .start = start, .room = room};
    file.start_size = sys_call4(SYS_pread64, number, start, sizeof start, 0);
    int result = headers_read(&file);
    return result < 0 ? result : file_map(&file, as, image);
}

static __attribute__((noinline)) int load_scattered(long number, enum load_as as, struct image *image)
{
    Elf64_Phdr room[HEADERS_MAX];
    return load(number, as, room, image);
}

int load_program(const char *host, enum load_as as, struct image *image)
{
    long number = hold_read(host);
    if (number < 0)
        return (int)number;
    int result = load(number, as, NULL, image);
    if (result == LOAD_SCATTERED)
        result = load_scattered(number, as, image);
    sys_call1(SYS_close, number);
    return result;
}
