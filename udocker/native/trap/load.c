/* Loading a program as the kernel would: elf(5). */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "trap.h"

enum { PAGE = 4096, HEADERS_MAX = 64 };
enum { START = 1024 /* holds all that is asked of most programs */ };

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

/* Room for the whole program, where it wants to be or where there is some; what is added to its addresses. */
static int room_take(const struct file *file, uintptr_t *bias)
{
    struct extent extent = extent_of(file);
    if (extent.low >= extent.high || (extent.align & (extent.align - 1)))
        return -ENOEXEC;
    size_t size = extent.high - extent.low;
    int flags = MAP_ANONYMOUS | MAP_NORESERVE;
    if (file->header.e_type == ET_EXEC) {
        *bias = 0;
        long place = map(extent.low, size, PROT_NONE, flags | 0x100000 /* MAP_FIXED_NOREPLACE */, -1, 0);
        if (is_error(place))
            return (int)place;
        return place == (long)extent.low ? 0 : -ENOMEM;
    }
    size_t more = extent.align > PAGE ? extent.align : 0;
    long place = map(0, size + more, PROT_NONE, flags, -1, 0);
    if (is_error(place))
        return (int)place;
    uintptr_t start = ((uintptr_t)place + extent.align - 1) & ~(extent.align - 1);
    uintptr_t end = (uintptr_t)place + size + more;
    if (start > (uintptr_t)place)
        sys_call2(SYS_munmap, place, start - (uintptr_t)place);
    if (end > start + size)
        sys_call2(SYS_munmap, start + size, end - (start + size));
    *bias = start - extent.low;
    return 0;
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

static int file_map(const struct file *file, struct image *image)
{
    uintptr_t bias;
    int result = room_take(file, &bias);
    image->base = bias;
    image->entry = file->header.e_entry + bias;
    image->header_count = file->header.e_phnum;
    image->headers = 0;
    for (int i = 0; result == 0 && i < file->header.e_phnum; i++) {
        const Elf64_Phdr *part = &file->parts[i];
        if (part->p_type != PT_LOAD)
            continue;
        result = part_map(file, part, bias);
        if (!image->headers && file->header.e_phoff >= part->p_offset &&
            file->header.e_phoff < part->p_offset + part->p_filesz)
            image->headers = file->header.e_phoff - part->p_offset + part->p_vaddr + bias;
    }
    return result;
}

int load_program(const char *host, struct image *image, char interpreter[PATH_SIZE])
{
    struct file file;
    long number = hold_read(host);
    if (number < 0)
        return (int)number;
    file_take(&file, (int)number);
    int result = headers_read(&file);
    if (result == 0 && interpreter)
        result = interpreter_read(&file, interpreter);
    if (result == 0)
        result = file_map(&file, image);
    sys_call1(SYS_close, number);
    return result;
}
