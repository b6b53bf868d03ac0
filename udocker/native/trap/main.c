/* Where the engine's program begins: called by udocker (begin.c), or by itself to load the guest's program, which
 * its second argument tells: a byte that no option begins with.
 */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "i386.h"

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
    int result = stacks_map(auxiliary);
    if (result < 0)
        report_failure("memory", result);
    if (!engine.tracing)
        signal_install();
    if (engine.tracing != TRACE_ALL && !filter_is_installed() && (result = filter_install()) < 0)
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

/* What getauxval(3) tells of who the program is; AT_SECURE where it is lent somebody's rights. */
static void auxiliary_set_users(unsigned long *auxiliary)
{
    const struct root_ids *ids = users_ids();
    const uint32_t *uid = ids->uid, *gid = ids->gid;
    for (unsigned long *entry = auxiliary; entry[0] != AT_NULL; entry += 2) {
        if (entry[0] == AT_UID)
            entry[1] = uid[ROOT_REAL];
        else if (entry[0] == AT_EUID)
            entry[1] = uid[ROOT_EFFECTIVE];
        else if (entry[0] == AT_GID)
            entry[1] = gid[ROOT_REAL];
        else if (entry[0] == AT_EGID)
            entry[1] = gid[ROOT_EFFECTIVE];
        else if (entry[0] == AT_SECURE)
            entry[1] = uid[ROOT_REAL] != uid[ROOT_EFFECTIVE] || gid[ROOT_REAL] != gid[ROOT_EFFECTIVE];
    }
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

static const char *text_keep(const char *text)
{
    const char *kept = engine_keep(text);
    if (!kept)
        report_failure(text, -ENAMETOOLONG);
    return kept;
}

static void release_read(const char *release)
{
    size_t size = bytes_length(release) + 1;
    if (size > sizeof engine.kernel)
        report_failure(release, -ENAMETOOLONG);
    bytes_copy(engine.kernel, release, size);
}

static void ports_take(const char *text)
{
    int result = text[0] ? ports_read(&engine.ports, text) : 0;
    if (result < 0)
        report_failure("ports", result);
}

static void emulator_take(const char *text)
{
    int result = text[0] ? foreign_take(text) : 0;
    if (result < 0)
        report_failure("emulator", result);
}

/* Reads back what exec.c's vector_head wrote; returns how many arguments that were. */
static long engine_read(char **arguments)
{
    long at = 3, views = 0;
    for (const char *letter = arguments[1] + 1; *letter; letter++) {
        if (*letter == 'k') { /* the rest is the kernel's release */
            release_read(letter + 1);
            break;
        }
        if (*letter == 'i') { /* and who the program is */
            int used = users_read(letter + 1);
            if (used < 0)
                report_failure("users", used);
            letter += used;
            continue;
        }
        engine.openat2 = engine.openat2 || *letter == 'o';
        engine.patch = engine.patch || *letter == 'p';
        engine.mm_map = engine.mm_map || *letter == 'm';
        engine.execmem = engine.execmem || *letter == 'x';
        if (*letter == 'd')
            engine_debugged = DEBUG_ASKED;
        if (*letter == 't' || *letter == 'a')
            engine.tracing = *letter == 't' ? TRACE_PATHS : TRACE_ALL;
    }
    for (const char *digit = arguments[2]; *digit; digit++)
        views = views * 10 + (*digit - '0');
    for (; views > 0; views--, at += 3) {
        int result = engine_put_view(arguments[at], arguments[at + 1], arguments[at + 2][0] == 'r');
        if (result < 0)
            report_failure(arguments[at], result);
        if (arguments[at + 2][1] == 'u')
            listing_hide(arguments[at]);
    }
    ports_take(arguments[at++]);
    emulator_take(arguments[at++]);
    engine.self = text_keep(arguments[0]);
    engine.world.exe_host = engine.exe_host = text_keep(arguments[at]);
    engine.world.exe_guest = engine.exe_guest = text_keep(arguments[at + 1]);
    foreign_begin(engine.exe_host);
    return at + 7;
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
    struct image program = {0}, loader = {0};
    long used = engine_read(arguments);
    const char *name = arguments[used - 1];
    struct loader named = {arguments[used - 5], arguments[used - 4], arguments[used - 3], arguments[used - 2]};
    bool is_dynamic = named.guest[0];
    loader_remember(&named);
    engine_start(auxiliary);
    int result = load_program(engine.exe_host, is_dynamic ? LOAD_WITH_INTERPRETER : LOAD_ALONE, &program);
    lent_close(engine.exe_host);
    if (result == 0 && is_dynamic)
        result = loader_load(&named, &loader);
    if (result == LOAD_ENGINE) {
        engine_nest();
        process_stop(engine_begin(arguments + used, environment));
    }
    if (result == 0 && is_dynamic && loader.i386 != program.i386)
        result = -ENOEXEC;
    if (result == 0 && program.i386 && !i386_is_there())
        result = LOAD_32_BIT;
    if (result == LOAD_32_BIT && program.i386)
        report_line(engine.exe_guest, "a 32-bit program, and this host's kernel runs none", "use a 64-bit image");
    else if (result == LOAD_32_BIT)
        report_line(engine.exe_guest, "a program of the x32 kind, which this execution mode does not run",
                    "use an image for amd64 or i386, or another execution mode");
    else if (result < 0)
        report_error(engine.exe_guest, -result);
    if (result < 0)
        process_stop(EXIT_NOT_EXECUTABLE);
    bool by_descriptor = bytes_equal(name, "/dev/fd/", 8);
    name_set(by_descriptor ? engine.exe_guest : name, by_descriptor);
    auxiliary_set(auxiliary, &program, &loader, name);
    if (engine.root)
        auxiliary_set_users(auxiliary);
    if (program.i386)
        i386_start(arguments + used, environment, auxiliary, &program, is_dynamic ? loader.entry : program.entry);
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
    uintptr_t entry = is_dynamic ? loader.entry : program.entry;
    if (engine_debugged)
        land_at_start(entry, stack);
    if (engine.tracing)
        traced_leave();
    jump(entry, stack);
}

__attribute__((used, noreturn)) void engine_main(unsigned long *stack)
{
    char **arguments = (char **)(stack + 1);
    char **environment = arguments + stack[0] + 1;
    char **end = environment;
    while (*end)
        end++;
    engine.world.exe_host = engine.world.exe_guest = engine.exe_host = engine.exe_guest = "";
    if (stack[0] > 12 && arguments[1][0] == '\001')
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
