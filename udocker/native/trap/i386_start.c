/* The start of a 32-bit program: its stack below 4 GiB, and the way into it. */

#include <elf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "i386.h"

enum {
    PAGE = 4096,
    MMAP2 = 192,
    RANDOM_SIZE = 16,
    RANDOM_PAGES = 1 << 8, /* by which the stack's end differs */
    AUXILIARY_MOST = 40,
    NO_RANDOM = 0x0040000,      /* ADDR_NO_RANDOMIZE */
    NOT_OVER_OTHERS = 0x100000, /* MAP_FIXED_NOREPLACE */
};
#define STACK_END 0xffffd000ul
#define STACK_LEAST 0x100000ul
#define STACK_MOST 0x4000000ul /* what the kernel leaves free there is twice as much at least: mmap_base */
#define STACK_USUAL 0x800000ul

/* ---- the way back into the program, from stacks.c ---- */

__asm__(".text\n"
        ".globl i386_leave, i386_leave_first, i386_leave_last\n"
        ".hidden i386_leave, i386_leave_first, i386_leave_last\n"
        "i386_leave:\n"
        "    mov %rbx, %r8\n"
        "    mov 32(%r8), %eax\n" /* ip */
        "    mov 144(%r8), %rcx\n"
        "    mov %eax, (%rcx)\n"
        "    movl $0x23, 4(%rcx)\n"
        "    mov 128(%r8), %r11\n" /* claim */
        "    pushq 40(%r8)\n"      /* flags */
        "    popfq\n"
        "    mov 0(%r8), %eax\n"
        "    mov 8(%r8), %ebx\n"
        "    mov 16(%r8), %ebp\n"
        "    mov 80(%r8), %edi\n"
        "    mov 88(%r8), %esi\n"
        "    mov 96(%r8), %edx\n"
        "    mov 136(%r8), %ecx\n"
        "    mov 144(%r8), %rsp\n"
        "i386_leave_first:\n"
        "    movl $0, (%r11)\n"
        "i386_leave_last:\n"
        "    lretl\n");
_Static_assert(offsetof(struct visit, claim) == 128 && offsetof(struct visit, cx) == 136 &&
                   offsetof(struct visit, left) == 144 && offsetof(struct visit, is_i386) == 152,
               "see above, and visit_enter");

/* ---- whether there is such a thing: kernels can be without, or be told to (ia32_emulation) ---- */

__attribute__((visibility("hidden"))) extern const char i386_ask_end[];
__attribute__((visibility("hidden"))) long i386_ask(void);
__asm__(".text\n"
        ".globl i386_ask, i386_ask_end\n"
        ".hidden i386_ask, i386_ask_end\n"
        "i386_ask:\n"
        "    push %rbx\n"
        "    mov $20, %eax\n" /* getpid */
        "    int $0x80\n"
        "i386_ask_end:\n"
        "    pop %rbx\n"
        "    ret\n");

/* Without them the instruction is a fault. */
static void on_fault(int number, siginfo_t *information, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)number, (void)information;
    r[REG_RIP] = (greg_t)i386_ask_end;
    r[REG_RAX] = -ENOSYS;
}

__attribute__((visibility("hidden"))) void i386_fault_return(void);
__asm__(".text\n"
        ".globl i386_fault_return\n"
        ".hidden i386_fault_return\n"
        "i386_fault_return:\n"
        "    mov $15, %eax\n" /* rt_sigreturn */
        "    syscall\n");

bool i386_is_there(void)
{
    struct disposition ours = {(void *)on_fault, SA_SIGINFO | 0x04000000 /* SA_RESTORER */, (void *)i386_fault_return, 0};
    struct disposition before;
    uint64_t fault = 1ull << (SIGSEGV - 1), mask;
    sys_call4(SYS_rt_sigaction, SIGSEGV, &ours, &before, 8);
    sys_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, &fault, &mask, 8);
    bool there = (int)i386_ask() == (int)sys_call0(SYS_getpid);
    sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
    sys_call4(SYS_rt_sigaction, SIGSEGV, &before, NULL, 8);
    return there;
}

/* ---- memory below 4 GiB ---- */

static long map_low(size_t size, int protection, int flags)
{
    const long arguments[6] = {0, (long)size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0};
    return i386_raw(MMAP2, arguments);
}

long i386_map(size_t size)
{
    return map_low(size, PROT_NONE, MAP_NORESERVE);
}

/* What a handler without a restorer returns to: unwinders know it by these bytes. */
static uint32_t return_text;

static const unsigned char RETURNS[] = {
    0x58, 0xb8, 119, 0, 0, 0, 0xcd, 0x80, /* pop %eax; mov $119, %eax; int $0x80 */
    0xb8, 173, 0, 0, 0, 0xcd, 0x80,
};

uint32_t i386_return_text(bool old)
{
    return return_text + (old ? 0 : 8);
}

static void return_text_make(void)
{
    long page = map_low(PAGE, PROT_READ | PROT_WRITE, 0);
    if (page < 0)
        report_failure("memory", page);
    bytes_copy((char *)page, (const char *)RETURNS, sizeof RETURNS);
    sys_call3(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC);
    return_text = (uint32_t)page;
}

/* ---- the stack ---- */

static size_t stack_size(void)
{
    struct rlimit limit;
    if (sys_call2(SYS_getrlimit, RLIMIT_STACK, &limit) < 0)
        return STACK_USUAL;
    size_t size = limit.rlim_cur > STACK_MOST ? STACK_MOST : limit.rlim_cur;
    return (size < STACK_LEAST ? STACK_LEAST : size) & ~(size_t)(PAGE - 1);
}

static uintptr_t stack_map(bool executable)
{
    uint16_t random = 0;
    size_t size = stack_size();
    if (!(sys_call1(SYS_personality, 0xffffffff) & NO_RANDOM))
        sys_call3(SYS_getrandom, &random, sizeof random, 1 /* GRND_NONBLOCK */);
    uintptr_t end = STACK_END - (uintptr_t)(random % RANDOM_PAGES) * PAGE;
    int protection = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
    long place = sys_call6(SYS_mmap, (long)(end - size), (long)size, protection,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK | NOT_OVER_OTHERS, -1, 0);
    if (place != (long)(end - size)) {
        if (place > 0)
            sys_call2(SYS_munmap, place, size);
        place = map_low(size, protection, MAP_NORESERVE | MAP_STACK);
        if (place < 0)
            report_failure("stack", place);
    }
    return (uintptr_t)place + size;
}

/* What is put on the stack from its end down. */
struct start {
    uintptr_t at, least;
};

static _Noreturn void too_long(void)
{
    report_line(engine.exe_guest, "Argument list too long", NULL);
    process_stop(EXIT_NOT_EXECUTABLE);
}

static uintptr_t put(struct start *start, const void *bytes, size_t size)
{
    if (start->at < start->least + size)
        too_long();
    start->at -= size;
    bytes_copy((char *)start->at, bytes, size);
    return start->at;
}

static uintptr_t put_text(struct start *start, const char *text)
{
    return put(start, text, bytes_length(text) + 1);
}

static size_t vector_count(char *const *vector)
{
    size_t count = 0;
    while (vector[count])
        count++;
    return count;
}

/* Strings in their order, as ps(1) reads them; the addresses go to `words`, which is on the stack already. */
static void texts_put(uintptr_t *at, char *const *vector, uint32_t *words)
{
    size_t i = 0;
    for (; vector[i]; i++) {
        size_t size = bytes_length(vector[i]) + 1;
        bytes_copy((char *)*at, vector[i], size);
        words[i] = (uint32_t)*at;
        *at += size;
    }
    words[i] = 0;
}

static size_t texts_size(char *const *vector)
{
    size_t size = 0;
    for (; *vector; vector++)
        size += bytes_length(*vector) + 1;
    return size;
}

/* getauxval(3) of 32 bits.  Where the kernel's text for calls is (vDSO) is not told: it is of 64 bits. */
static size_t auxiliary_narrow(const unsigned long *wide, struct start *start, uint32_t *narrow)
{
    size_t count = 0;
    for (; wide[0] != AT_NULL && count + 4 <= AUXILIARY_MOST * 2; wide += 2) {
        unsigned long value = wide[1];
        if (wide[0] == AT_SYSINFO_EHDR || wide[0] == AT_SYSINFO || wide[0] == AT_BASE_PLATFORM)
            continue;
        if (wide[0] == AT_RANDOM)
            value = put(start, (const void *)value, RANDOM_SIZE);
        else if (wide[0] == AT_EXECFN)
            value = put_text(start, (const char *)value);
        else if (wide[0] == AT_PLATFORM)
            value = put_text(start, "i686");
        else if (wide[0] == AT_PHENT)
            value = sizeof(Elf32_Phdr);
        narrow[count++] = (uint32_t)wide[0];
        narrow[count++] = (uint32_t)value;
    }
    narrow[count++] = AT_NULL;
    narrow[count++] = 0;
    return count;
}

/* Jumps into the program: registers as the kernel leaves them, ebp and edx zero for the C library. */
__attribute__((visibility("hidden"), noreturn)) void i386_enter(uintptr_t stack, uint32_t entry);
__asm__(".text\n"
        ".globl i386_enter\n"
        ".hidden i386_enter\n"
        "i386_enter:\n"
        "    lea -8(%rdi), %rsp\n"
        "    mov %esi, (%rsp)\n"
        "    movl $0x23, 4(%rsp)\n"
        "    mov $0x2b, %eax\n"
        "    mov %eax, %ds\n"
        "    mov %eax, %es\n"
        "    mov %eax, %ss\n"
        "    xor %eax, %eax\n"
        "    mov %eax, %fs\n"
        "    mov %eax, %gs\n"
        "    xor %ebx, %ebx\n"
        "    xor %ecx, %ecx\n"
        "    xor %edx, %edx\n"
        "    xor %esi, %esi\n"
        "    xor %edi, %edi\n"
        "    xor %ebp, %ebp\n"
        "    lretl\n");

/* Puts all of it on the stack; where that begins. */
static struct process stack_fill(char *const *arguments, char *const *environment, const unsigned long *auxiliary,
                                 uintptr_t end)
{
    uint32_t narrow[AUXILIARY_MOST * 2];
    struct start start = {end - PAGE / 4, end - stack_size() / 4 * 3};
    size_t words = auxiliary_narrow(auxiliary, &start, narrow);
    size_t count = vector_count(arguments), more = vector_count(environment);
    size_t texts = texts_size(arguments), others = texts_size(environment);
    size_t vectors = (count + more + 3 + words) * sizeof(uint32_t);
    if (start.at - start.least < texts + others + vectors + 64)
        too_long();
    uintptr_t text = start.at - texts - others, stack = (text - vectors) & ~(uintptr_t)15;
    uint32_t *word = (uint32_t *)stack;
    struct process process = {
        .stack = stack,
        .arguments = text,
        .environment = text + texts,
        .environment_end = text + texts + others,
        .auxiliary = stack + (count + more + 3) * sizeof(uint32_t),
        .auxiliary_size = (unsigned)(words * sizeof(uint32_t)),
    };
    word[0] = (uint32_t)count;
    texts_put(&text, arguments, word + 1);
    texts_put(&text, environment, word + count + 2);
    bytes_copy((char *)process.auxiliary, (const char *)narrow, process.auxiliary_size);
    return process;
}

void i386_start(char *const *arguments, char *const *environment, const unsigned long *auxiliary,
                const struct image *program, uintptr_t entry)
{
    struct process process = stack_fill(arguments, environment, auxiliary, stack_map(program->executable_stack));
    process_tell(&process, program);
    return_text_make();
    i386_heap_begin(program->brk);
    engine.i386 = true;
    signal_guard(~0ull); /* a signal finds the guest, or a call on a stack of its own */
    traced_leave();
    i386_enter(process.stack, (uint32_t)entry);
}
