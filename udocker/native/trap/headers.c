/* What a program's file tells of itself: elf(5).  The file's first bytes hold all that is asked of most. */

#include "headers.h"

#include <errno.h>
#include <stdalign.h>

extern const char trap_text_start[] __attribute__((visibility("hidden")));

static bool is_in_start(const struct file *file, size_t size, uint64_t offset)
{
    return file->start_size > 0 && offset < LOAD_START && offset + size <= (uint64_t)file->start_size;
}

static int read_whole(const struct file *file, void *target, size_t size, uint64_t offset)
{
    if (is_in_start(file, size, offset)) {
        bytes_copy(target, file->start + offset, size);
        return 0;
    }
    long done = sys_call4(SYS_pread64, file->number, target, size, offset);
    return done == (long)size ? 0 : done < 0 ? (int)done : -ENOEXEC;
}

/* The headers of a 32-bit program, as those of 64 bits. */
static __attribute__((noinline)) int headers_widen(struct file *file)
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
    if (!file->room)
        return LOAD_SCATTERED;
    file->i386 = true;
    file->parts = file->room;
    file->header.e_type = header.e_type;
    file->header.e_entry = header.e_entry;
    file->header.e_phoff = header.e_phoff;
    file->header.e_phnum = header.e_phnum;
    result = read_whole(file, parts, header.e_phnum * sizeof *parts, header.e_phoff);
    for (int i = 0; i < header.e_phnum; i++)
        file->room[i] = (Elf64_Phdr){
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

int headers_read(struct file *file)
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
    size_t size = header->e_phnum * sizeof(Elf64_Phdr);
    if (header->e_phoff % alignof(Elf64_Phdr) == 0 && is_in_start(file, size, header->e_phoff)) {
        file->parts = (const Elf64_Phdr *)(file->start + header->e_phoff);
        return 0;
    }
    if (!file->room)
        return LOAD_SCATTERED;
    file->parts = file->room;
    return read_whole(file, file->room, size, header->e_phoff);
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

static int check(int number, const char *start, long size, Elf64_Phdr *room, char interpreter[PATH_SIZE])
{
    struct file file = {.number = number, .start = start, .start_size = size, .room = room};
    int result = headers_read(&file);
    return result < 0 ? result : interpreter_read(&file, interpreter);
}

/* With room on the stack for what few programs need: each page of it that is touched costs at every start. */
static __attribute__((noinline)) int check_scattered(int file, const char *start, long size, char interpreter[PATH_SIZE])
{
    Elf64_Phdr room[HEADERS_MAX];
    return check(file, start, size, room, interpreter);
}

int load_check(int file, const char *start, long size, char interpreter[PATH_SIZE])
{
    int result = check(file, start, size, NULL, interpreter);
    return result == LOAD_SCATTERED ? check_scattered(file, start, size, interpreter) : result;
}
