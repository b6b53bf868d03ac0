/* Loading a program as the kernel would: elf(5). */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "trap.h"

enum { PAGE = 4096, HEADERS_MAX = 64, NOT_OVER_OTHERS = 0x100000 /* MAP_FIXED_NOREPLACE */ };
enum { START = 1024 /* holds all that is asked of most programs */ };

extern const char trap_text_start[] __attribute__((visibility("hidden")));

struct file {
    int number;
    long start_size;
    char start[START];
    Elf64_Ehdr header;
    Elf64_Phdr parts[HEADERS_MAX];
};

static uintptr_t page_down(uintptr_t address)
{
    return address & ~(uintptr_t)(PAGE - 1);
}

static uintptr_t page_up(uintptr_t address)
{
    return page_down(address + PAGE - 1);
}

static void file_take(struct file *file, int number)
{
    file->number = number;
    file->start_size = sys_call4(SYS_pread64, number, file->start, START, 0);
}

static int read_whole(const struct file *file, void *target, size_t size, uint64_t offset)
{
    if (file->start_size > 0 && offset < START && offset + size <= (uint64_t)file->start_size) {
        bytes_copy(target, file->start + offset, size);
        return 0;
    }
    long done = sys_call4(SYS_pread64, file->number, target, size, offset);
    return done == (long)size ? 0 : done < 0 ? (int)done : -ENOEXEC;
}

static int headers_read(struct file *file)
{
    const Elf64_Ehdr *header = &file->header;
    int result = read_whole(file, &file->header, sizeof file->header, 0);
    if (result < 0)
        return result;
    if (foreign_is(header))
        return LOAD_FOREIGN;
    if (bytes_equal((const char *)header->e_ident, ELFMAG, SELFMAG) && header->e_ident[EI_CLASS] == ELFCLASS32 &&
        (header->e_machine == EM_386 || header->e_machine == EM_X86_64))
        return LOAD_32_BIT;
    if (header->e_type == ET_EXEC && header->e_entry >> 20 == (uintptr_t)trap_text_start >> 20)
        return LOAD_ENGINE;
    bool fits = bytes_equal((const char *)header->e_ident, ELFMAG, SELFMAG) &&
                header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_machine == EM_X86_64 &&
                (header->e_type == ET_EXEC || header->e_type == ET_DYN) &&
                header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phnum > 0 && header->e_phnum <= HEADERS_MAX;
    if (!fits)
        return -ENOEXEC;
    return read_whole(file, file->parts, header->e_phnum * sizeof(Elf64_Phdr), header->e_phoff);
}

static int interpreter_read(const struct file *file, char interpreter[PATH_SIZE])
{
    interpreter[0] = '\0';
    for (int i = 0; i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type != PT_INTERP)
            continue;
        if (part->p_filesz < 2 || part->p_filesz > PATH_SIZE)
            return -ENOEXEC;
        int result = read_whole(file, interpreter, part->p_filesz, part->p_offset);
        if (result == 0 && interpreter[part->p_filesz - 1] != '\0')
            result = -ENOEXEC;
        return result;
    }
    return 0;
}

int load_check(int file, char interpreter[PATH_SIZE])
{
    struct file program;
    file_take(&program, file);
    int result = headers_read(&program);
    return result < 0 ? result : interpreter_read(&program, interpreter);
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

/* Where the parts of a program lie.  `first` is mapped over all of it at once, the others then over that: NULL where the
 * room is to be taken by itself. */
struct extent {
    uintptr_t low, high, align;
    const Elf64_Phdr *first;
};

static struct extent extent_of(const struct file *file)
{
    struct extent extent = {-1ul, 0, PAGE, NULL};
    bool ascending = true;
    for (int i = 0; i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type != PT_LOAD)
            continue;
        extent.first = extent.first ? extent.first : part;
        ascending = ascending && part->p_vaddr >= extent.high;
        extent.low = part->p_vaddr < extent.low ? part->p_vaddr : extent.low;
        extent.high = part->p_vaddr + part->p_memsz > extent.high ? part->p_vaddr + part->p_memsz : extent.high;
        extent.align = part->p_align > extent.align ? part->p_align : extent.align;
    }
    extent.low = page_down(extent.low);
    extent.high = page_up(extent.high);
    if (!ascending || !extent.first || extent.first->p_filesz == 0)
        extent.first = NULL;
    return extent;
}

/* ---- where a program lies: as the kernel would put it, so that its heap has room to grow, and what looks for a
 * program there (sanitizers, debuggers) finds it ---- */

#define DYNAMIC_BASE 0x555555554000ul /* ELF_ET_DYN_BASE */
enum { RANDOM_PAGES = 1 << 28, RANDOM_HEAP_PAGES = 1 << 13, NO_RANDOM = 0x0040000 /* ADDR_NO_RANDOMIZE */ };

/* How far away from the lowest addresses that they may have a program and its heap lie. */
struct offsets {
    uintptr_t program, heap;
};

static struct offsets random_offsets(void)
{
    uint32_t values[2] = {0, 0};
    if (!(sys_call1(SYS_personality, 0xffffffff) & NO_RANDOM))
        sys_call3(SYS_getrandom, values, sizeof values, 1 /* GRND_NONBLOCK */);
    return (struct offsets){(uintptr_t)(values[0] % RANDOM_PAGES) * PAGE, (uintptr_t)(values[1] % RANDOM_HEAP_PAGES) * PAGE};
}

static uint64_t part_offset(const Elf64_Phdr *part)
{
    return part->p_offset - (part->p_vaddr - page_down(part->p_vaddr));
}

/* Room for all of a program, `more` than it needs where nothing of it is there yet. */
static long room_map(const struct file *file, const struct extent *extent, uintptr_t address, size_t more, int flags)
{
    size_t size = extent->high - extent->low + more;
    const Elf64_Phdr *first = extent->first;
    if (first)
        return map(address, size, protection(first), flags, file->number, part_offset(first));
    return map(address, size, PROT_NONE, MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

static bool room_map_at(const struct file *file, const struct extent *extent, uintptr_t address)
{
    long place = room_map(file, extent, address, 0, NOT_OVER_OTHERS);
    if (place == (long)address)
        return true;
    if (!is_error(place)) /* a kernel before 4.17 takes the address for a wish */
        sys_call2(SYS_munmap, place, extent->high - extent->low);
    return false;
}

/* Anywhere, aligned as the program wants it. */
static int room_anywhere(const struct file *file, struct extent *extent, uintptr_t *start)
{
    size_t size = extent->high - extent->low, more = extent->align > PAGE ? extent->align : 0;
    if (more > 0)
        extent->first = NULL; /* where it will begin is not known yet */
    long place = room_map(file, extent, 0, more, 0);
    if (is_error(place))
        return (int)place;
    *start = ((uintptr_t)place + extent->align - 1) & ~(extent->align - 1);
    uintptr_t end = (uintptr_t)place + size + more;
    if (*start > (uintptr_t)place)
        sys_call2(SYS_munmap, place, *start - (uintptr_t)place);
    if (end > *start + size)
        sys_call2(SYS_munmap, *start + size, end - (*start + size));
    return 0;
}

/* Room for the whole program, at `offset` from the lowest address where it has an interpreter (else NULL); `bias` is what
 * is added to its addresses. */
static int room_take(const struct file *file, struct extent *extent, const uintptr_t *offset, uintptr_t *bias)
{
    if (extent->low >= extent->high || (extent->align & (extent->align - 1)))
        return -ENOEXEC;
    *bias = 0;
    if (file->header.e_type == ET_EXEC)
        return room_map_at(file, extent, extent->low) ? 0 : -ENOMEM;
    uintptr_t start = 0;
    int result = 0;
    if (offset)
        start = (DYNAMIC_BASE + *offset + extent->align - 1) & ~(extent->align - 1);
    if (!offset || !room_map_at(file, extent, start))
        result = room_anywhere(file, extent, &start);
    *bias = start - extent->low;
    return result;
}

/* One segment: what the file has, which may be there already, then zeros. */
static int part_map(const struct file *file, const Elf64_Phdr *part, uintptr_t bias, bool is_there)
{
    uintptr_t start = page_down(part->p_vaddr) + bias;
    uintptr_t data = part->p_vaddr + part->p_filesz + bias, end = part->p_vaddr + part->p_memsz + bias;
    uintptr_t mapped = part->p_filesz ? page_up(data) : start;
    if (part->p_filesz > part->p_memsz)
        return -ENOEXEC;
    if (part->p_filesz) {
        long place = 0;
        if (!is_there)
            place = map(start, data - start, protection(part), MAP_FIXED, file->number, part_offset(part));
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

/* Nothing of the first part is seen between the others. */
static void gap_close(const struct extent *extent, const Elf64_Phdr *part, uintptr_t bias, uintptr_t *end)
{
    uintptr_t start = page_down(part->p_vaddr) + bias;
    if (extent->first && *end && start > *end)
        sys_call3(SYS_mprotect, *end, start - *end, PROT_NONE);
    *end = page_up(part->p_vaddr + part->p_memsz + bias);
}

static int parts_map(const struct file *file, const struct extent *extent, uintptr_t bias, struct image *image)
{
    uintptr_t end = 0;
    for (int i = 0; i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type == PT_GNU_STACK)
            image->executable_stack = part->p_flags & PF_X;
        if (part->p_type != PT_LOAD)
            continue;
        gap_close(extent, part, bias, &end);
        int result = part_map(file, part, bias, part == extent->first);
        if (result < 0)
            return result;
        part_describe(part, bias, image);
        if (!image->headers && file->header.e_phoff >= part->p_offset &&
            file->header.e_phoff < part->p_offset + part->p_filesz)
            image->headers = file->header.e_phoff - part->p_offset + part->p_vaddr + bias;
    }
    return 0;
}

static int file_map(const struct file *file, struct image *image, bool is_program, bool has_interpreter)
{
    struct extent extent = extent_of(file);
    struct offsets offsets = {0, 0};
    uintptr_t bias;
    if (is_program)
        offsets = random_offsets();
    int result = room_take(file, &extent, has_interpreter ? &offsets.program : NULL, &bias);
    *image = (struct image){.base = bias, .entry = file->header.e_entry + bias, .header_count = file->header.e_phnum};
    if (result == 0)
        result = parts_map(file, &extent, bias, image);
    /* The heap of a program that lies among the libraries would have no room behind it. */
    bool among_others = file->header.e_type == ET_DYN && !has_interpreter;
    if (result == 0 && is_program)
        image->brk = (among_others ? DYNAMIC_BASE : extent.high + bias) + offsets.heap;
    return result;
}

int load_program(const char *host, enum load_as as, struct image *image)
{
    struct file file;
    long number = hold_read(host);
    if (number < 0)
        return (int)number;
    file_take(&file, (int)number);
    int result = headers_read(&file);
    if (result == 0)
        result = file_map(&file, image, as != LOAD_INTERPRETER, as == LOAD_WITH_INTERPRETER);
    sys_call1(SYS_close, number);
    return result;
}
