/* Loading a program as the kernel would: elf(5). */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "i386.h"

enum { PAGE = 4096, HEADERS_MAX = 64, NOT_OVER_OTHERS = 0x100000 /* MAP_FIXED_NOREPLACE */ };
enum { START = 1024 /* holds all that is asked of most programs */ };

extern const char trap_text_start[] __attribute__((visibility("hidden")));

struct file {
    int number;
    long start_size;
    char start[START];
    bool i386;
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

/* The headers of a 32-bit program, as those of 64 bits. */
static int headers_widen(struct file *file)
{
    Elf32_Ehdr header;
    Elf32_Phdr parts[HEADERS_MAX];
    int result = read_whole(file, &header, sizeof header, 0);
    if (result < 0)
        return result;
    if (header.e_machine == EM_X86_64)
        return LOAD_32_BIT;
    if (header.e_machine != EM_386 || (header.e_type != ET_EXEC && header.e_type != ET_DYN) ||
        header.e_phentsize != sizeof *parts || header.e_phnum == 0 || header.e_phnum > HEADERS_MAX)
        return -ENOEXEC;
    file->i386 = true;
    file->header.e_type = header.e_type;
    file->header.e_entry = header.e_entry;
    file->header.e_phoff = header.e_phoff;
    file->header.e_phnum = header.e_phnum;
    result = read_whole(file, parts, header.e_phnum * sizeof *parts, header.e_phoff);
    for (int i = 0; i < header.e_phnum; i++)
        file->parts[i] = (Elf64_Phdr){
            .p_type = parts[i].p_type,
            .p_flags = parts[i].p_flags,
            .p_offset = parts[i].p_offset,
            .p_vaddr = parts[i].p_vaddr,
            .p_filesz = parts[i].p_filesz,
            .p_memsz = parts[i].p_memsz,
            .p_align = parts[i].p_align,
        };
    return result;
}

static int headers_read(struct file *file)
{
    const Elf64_Ehdr *header = &file->header;
    int result = read_whole(file, &file->header, sizeof(Elf32_Ehdr), 0);
    if (result < 0)
        return result;
    if (foreign_is(header))
        return LOAD_FOREIGN;
    file->i386 = false;
    if (bytes_equal((const char *)header->e_ident, ELFMAG, SELFMAG) && header->e_ident[EI_CLASS] == ELFCLASS32)
        return headers_widen(file);
    result = read_whole(file, &file->header, sizeof file->header, 0);
    if (result < 0)
        return result;
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

static uintptr_t random_offset(uint32_t pages)
{
    uint32_t value = 0;
    if (sys_call1(SYS_personality, 0xffffffff) & NO_RANDOM)
        return 0;
    sys_call3(SYS_getrandom, &value, sizeof value, 1 /* GRND_NONBLOCK */);
    return (uintptr_t)(value % pages) * PAGE;
}

static bool map_nowhere(uintptr_t address, size_t size)
{
    long place = map(address, size, PROT_NONE, MAP_ANONYMOUS | MAP_NORESERVE | NOT_OVER_OTHERS, -1, 0);
    if (place == (long)address)
        return true;
    if (!is_error(place))
        sys_call2(SYS_munmap, place, size); /* a kernel before 4.17 takes the address for a wish */
    return false;
}

/* Anywhere, aligned as the program wants it. */
static int room_anywhere(struct extent extent, bool i386, uintptr_t *start)
{
    size_t size = extent.high - extent.low, more = extent.align > PAGE ? extent.align : 0;
    long place = i386 ? i386_map(size + more) : map(0, size + more, PROT_NONE, MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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

/* Room for the whole program; `bias` is what is added to its addresses. */
static int room_take(const struct file *file, const struct extent *extent, bool has_interpreter, uintptr_t *bias)
{
    if (extent->low >= extent->high || (extent->align & (extent->align - 1)))
        return -ENOEXEC;
    size_t size = extent->high - extent->low;
    *bias = 0;
    if (file->header.e_type == ET_EXEC)
        return map_nowhere(extent->low, size) ? 0 : -ENOMEM;
    uintptr_t start = 0;
    int result = 0;
    if (has_interpreter)
        start = (dynamic_base(file) + random_offset(file->i386 ? RANDOM_PAGES_I386 : RANDOM_PAGES) + extent->align - 1) &
                ~(extent->align - 1);
    if (!has_interpreter || !map_nowhere(start, size))
        result = room_anywhere(*extent, file->i386, &start);
    *bias = start - extent->low;
    return result;
}

/* One segment: what the file has, then zeros. */
static int part_map(const struct file *file, const Elf64_Phdr *part, uintptr_t bias)
{
    uintptr_t start = page_down(part->p_vaddr) + bias;
    uintptr_t data = part->p_vaddr + part->p_filesz + bias, end = part->p_vaddr + part->p_memsz + bias;
    uintptr_t mapped = part->p_filesz ? page_up(data) : start;
    if (part->p_filesz > part->p_memsz)
        return -ENOEXEC;
    if (part->p_filesz) {
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

static int file_map(const struct file *file, struct image *image, bool is_program, bool has_interpreter)
{
    struct extent extent = extent_of(file);
    uintptr_t bias;
    int result = room_take(file, &extent, has_interpreter, &bias);
    *image = (struct image){
        .base = bias,
        .entry = file->header.e_entry + bias,
        .header_count = file->header.e_phnum,
        .i386 = file->i386,
    };
    for (int i = 0; result == 0 && i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type == PT_GNU_STACK)
            image->executable_stack = part->p_flags & PF_X;
        if (part->p_type != PT_LOAD)
            continue;
        result = part_map(file, part, bias);
        part_describe(part, bias, image);
        if (!image->headers && file->header.e_phoff >= part->p_offset &&
            file->header.e_phoff < part->p_offset + part->p_filesz)
            image->headers = file->header.e_phoff - part->p_offset + part->p_vaddr + bias;
    }
    /* The heap of a program that lies among the libraries would have no room behind it. */
    bool among_others = file->header.e_type == ET_DYN && !has_interpreter;
    if (result == 0 && is_program)
        image->brk = (among_others ? dynamic_base(file) : extent.high + bias) + random_offset(RANDOM_HEAP_PAGES);
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
