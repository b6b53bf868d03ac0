/* Where the engine's program begins: called by udocker (begin.c), or by itself to load the guest's program, which
 * its second argument tells: a byte that no option begins with.
 */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "trap.h"

/* ---- what every start has to do ---- */

static _Noreturn void filter_refused(int error)
{
    if (error == -EINVAL)
        report_and_stop("seccomp", "this kernel has no filters", "it needs CONFIG_SECCOMP_FILTER");
    report_and_stop("seccomp", "this host does not let system calls be trapped",
                    "a sandbox or a container around this process may forbid it; try another execution mode");
}

void engine_start(const unsigned long *auxiliary)
{
    for (size_t i = 0; i < call_count; i++)
        engine.calls[call_table[i].number] = (uint8_t)(i + 1);
    int result = stacks_map(auxiliary);
    if (result < 0)
        report_failure("memory", result);
    signal_install();
    if (!filter_is_installed() && (result = filter_install()) < 0)
        filter_refused(result);
}

/* ---- started by itself: load the program ---- */

/* What ps(1) calls the process: the last name of a path, of a file that is gone without the kernel's remark. */
static void name_set(const char *path, bool is_file)
{
    static const char gone[] = " (deleted)";
    char name[16];
    size_t at = 0;
    const char *last = path;
    for (const char *c = path; *c; c++)
        if (*c == '/' && c[1])
            last = c + 1;
    for (; last[at] && at + 1 < sizeof name; at++) {
        if (is_file && bytes_equal(last + at, gone, sizeof gone))
            break;
        name[at] = last[at];
    }
    name[at] = '\0';
    sys_call5(SYS_prctl, PR_SET_NAME, name, 0, 0, 0);
}

static void auxiliary_set(unsigned long *auxiliary, const struct image *program, const struct image *loader,
                          const char *name)
{
    for (unsigned long *entry = auxiliary; entry[0] != AT_NULL; entry += 2) {
        if (entry[0] == AT_PHDR)
            entry[1] = program->headers;
        else if (entry[0] == AT_PHNUM)
            entry[1] = program->header_count;
        else if (entry[0] == AT_ENTRY)
            entry[1] = program->entry;
        else if (entry[0] == AT_BASE)
            entry[1] = loader->base;
        else if (entry[0] == AT_EXECFN)
            entry[1] = (unsigned long)name;
    }
}

/* The descriptor of a program that has no name: exec.c, plan_descriptor. */
static void lent_close(const char *host)
{
    static const char prefix[] = "/proc/self/fd/";
    long number = 0;
    if (bytes_length(host) < sizeof prefix || !bytes_equal(host, prefix, sizeof prefix - 1))
        return;
    for (const char *digit = host + sizeof prefix - 1; *digit; digit++)
        number = number * 10 + (*digit - '0');
    sys_call1(SYS_close, number);
}

static void text_set_up_to(char *target, const char *source, size_t room)
{
    size_t size = bytes_length(source) + 1;
    if (size > room)
        report_failure(source, -ENAMETOOLONG);
    bytes_copy(target, source, size);
}

static void text_set(char target[PATH_SIZE], const char *source)
{
    text_set_up_to(target, source, PATH_SIZE);
}

/* Reads back what exec.c's vector_head wrote; returns how many arguments that were. */
static long engine_read(char **arguments)
{
    long at = 3, views = 0;
    for (const char *letter = arguments[1] + 1; *letter; letter++) {
        if (*letter == 'k') { /* the rest is the kernel's release */
            text_set_up_to(engine.kernel, letter + 1, sizeof engine.kernel);
            break;
        }
        engine.openat2 = engine.openat2 || *letter == 'o';
        engine.patch = engine.patch || *letter == 'p';
        engine.mm_map = engine.mm_map || *letter == 'm';
        engine.execmem = engine.execmem || *letter == 'x';
    }
    for (const char *digit = arguments[2]; *digit; digit++)
        views = views * 10 + (*digit - '0');
    for (; views > 0; views--, at += 3) {
        int result = engine_add_view(arguments[at], arguments[at + 1], arguments[at + 2][0] == 'r');
        if (result < 0)
            report_failure(arguments[at], result);
        if (arguments[at + 2][1] == 'u')
            listing_hide(arguments[at]);
    }
    int result = ports_read(&engine.ports, arguments[at++]);
    if (result == 0)
        result = foreign_take(arguments[at++]);
    if (result < 0)
        report_failure("ports", result);
    text_set(engine.self, arguments[0]);
    text_set(engine.exe_host, arguments[at]);
    text_set(engine.exe_guest, arguments[at + 1]);
    foreign_begin(engine.exe_host);
    return at + 3;
}

static __attribute__((noreturn)) void jump(uintptr_t entry, unsigned long *stack)
{
    /* The registers as the kernel leaves them: rdx is a function for atexit, and there is none. */
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "xor %%edx, %%edx\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "xor %%ebx, %%ebx\n\t"
                     "jmp *%1"
                     :
                     : "r"(stack), "a"(entry)
                     : "memory");
    __builtin_unreachable();
}

/* PT_GNU_STACK of elf(5).  Where it is refused the program will find out. */
static void stack_make_executable(const unsigned long *stack)
{
    sys_call3(SYS_mprotect, (uintptr_t)stack & ~(uintptr_t)4095, 4096,
              PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN);
}

static void engine_restart(unsigned long *stack, char **arguments, char **environment, unsigned long *auxiliary)
{
    struct image program, loader = {0};
    struct path_place place;
    char interpreter[PATH_SIZE];
    long used = engine_read(arguments);
    const char *name = arguments[used - 1];
    engine_start(auxiliary);
    int result = load_program(engine.exe_host, &program, interpreter);
    lent_close(engine.exe_host);
    if (result == 0 && interpreter[0]) {
        result = path_resolve(&engine.world, AT_FDCWD, interpreter, PATH_FOLLOW, &place);
        if (result == 0)
            result = load_program(place.host, &loader, NULL);
    }
    if (result == LOAD_ENGINE) {
        engine_nest();
        process_stop(engine_begin(arguments + used, environment));
    }
    if (result == LOAD_32_BIT)
        report_line(engine.exe_guest, "a 32-bit program, which this execution mode does not run",
                    "use a 64-bit image, or another execution mode");
    else if (result < 0)
        report_error(engine.exe_guest, -result);
    if (result < 0)
        process_stop(EXIT_NOT_EXECUTABLE);
    bool by_descriptor = bytes_equal(name, "/dev/fd/", 8);
    name_set(by_descriptor ? engine.exe_guest : name, by_descriptor);
    auxiliary_set(auxiliary, &program, &loader, name);
    /* The stack loses the arguments that were ours; the rest stays where it is. */
    unsigned long count = stack[0] - (unsigned long)used;
    stack += used;
    stack[0] = count;
    /* The ABI wants 16 bytes: one word down where an odd number went, with everything behind it. */
    if ((uintptr_t)stack % 16) {
        unsigned long *end = auxiliary;
        while (end[0])
            end += 2;
        end += 2;
        for (unsigned long *word = stack; word < end; word++)
            word[-1] = word[0];
        stack--;
        auxiliary--;
    }
    process_describe(stack, auxiliary, &program);
    if (program.executable_stack)
        stack_make_executable(stack);
    jump(interpreter[0] ? loader.entry : program.entry, stack);
}

__attribute__((used, noreturn)) void engine_main(unsigned long *stack)
{
    char **arguments = (char **)(stack + 1);
    char **environment = arguments + stack[0] + 1;
    char **end = environment;
    while (*end)
        end++;
    engine.world.exe_host = engine.exe_host;
    engine.world.exe_guest = engine.exe_guest;
    if (stack[0] > 6 && arguments[1][0] == '\001')
        engine_restart(stack, arguments, environment, (unsigned long *)(end + 1));
    process_stop(engine_begin(arguments, environment));
    __builtin_unreachable();
}

/* The kernel's stack pointer is the argument; the frame below it must be aligned for C. */
__asm__(".text\n"
        ".globl _start\n"
        "_start:\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call engine_main\n"
        "    hlt\n");
