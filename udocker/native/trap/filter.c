/* The seccomp filter: traps the calls of the table, wherever they come from but this text.
 *
 * It is inherited by every program that is started, and filters add up; so it is installed once, and asks a
 * number that no call has to tell the next engine of it.
 */

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "i386.h"

enum { PROGRAM_MAX = 1024, KEPT = 8 };

/* From here on the same calls have other numbers: __X32_SYSCALL_BIT of syscall(2). */
enum { X32 = 0x40000000 };

extern const char trap_text_start[] __attribute__((visibility("hidden")));
extern const char trap_text_end[] __attribute__((visibility("hidden")));

struct program {
    struct sock_filter lines[PROGRAM_MAX];
    unsigned count;
};

/* Calls that must not happen at all: the C library does without them.  The last ones open what the container
 * does not see: by a descriptor of another process, a handle, or a path among a file system's options. */
static const short REFUSED[] = {
    SYS_clone3,
    SYS_io_uring_setup,
    SYS_userfaultfd,
    SYS_open_by_handle_at,
    430 /* fsopen */,
    431 /* fsconfig */,
    432 /* fsmount */,
    438 /* pidfd_getfd */,
};

/* Signals, whose mask must never hold SIGSYS. */
static const short SIGNALS[] = {SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigsuspend};

/* Trapped only where this argument is no null pointer: masks to wait with, and addresses. */
static const struct {
    short number, argument;
} OPTIONAL[] = {
    {SYS_ppoll, 3}, {SYS_pselect6, 5}, {SYS_epoll_pwait, 4}, {441 /* epoll_pwait2 */, 4}, {SYS_sendto, 4},
    {SYS_accept, 1}, {SYS_accept4, 1}, {SYS_recvfrom, 4},
};

/* Trapped only where some view is read-only: changes of what a descriptor is open on, which needs no right to
 * write; and two requests of ioctl(2) that are such. */
static const short CHANGES[] = {SYS_fchmod, SYS_fchown, SYS_fsetxattr, SYS_fremovexattr};
enum { CHANGES_COUNT = sizeof CHANGES / sizeof *CHANGES };

enum { OPTIONAL_COUNT = sizeof OPTIONAL / sizeof *OPTIONAL, WAITS = 4 /* the first of them */ };

/* Flags that lead past a tracer: of clone(2) one for a child without, of seccomp(2) the one for a process that lets
 * calls go on before the tracer is asked (SECCOMP_RET_USER_NOTIF), which kernels before 5.0 lack. */
static const struct {
    short number, argument, error;
    uint32_t flag;
} UNTRACED[] = {
    {SYS_clone, 0, EPERM, 0x00800000u /* CLONE_UNTRACED */},
    {SYS_seccomp, 1, EINVAL, 8 /* SECCOMP_FILTER_FLAG_NEW_LISTENER */},
};

/* The same of i386, whose numbers since 424 are these. */
static const short REFUSED_I386[] = {
    435 /* clone3 */, 425 /* io_uring_setup */, 374 /* userfaultfd */, 342 /* open_by_handle_at */, 430, 431, 432, 438,
};
enum { CLONE_I386 = 120, SECCOMP_I386 = 354 };

/* A tracer needs no signal of the guest's, so the guest may do with its masks what it likes. */
static unsigned first_optional(void)
{
    return engine.tracing ? WAITS : 0;
}

static void add(struct program *program, unsigned short code, uint32_t value, unsigned char yes, unsigned char no)
{
    if (program->count < PROGRAM_MAX)
        program->lines[program->count++] = (struct sock_filter){code, yes, no, value};
}

static void add_load(struct program *program, size_t offset)
{
    add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void add_return(struct program *program, uint32_t value)
{
    add(program, BPF_RET | BPF_K, value, 0, 0);
}

static void add_refusal(struct program *program, long number, uint32_t error)
{
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1);
    add_return(program, SECCOMP_RET_ERRNO | error);
}

/* A call from our own text is let through, any other is trapped. */
static void add_verdict(struct program *program, uint32_t mark)
{
    uintptr_t start = (uintptr_t)trap_text_start, end = (uintptr_t)trap_text_end;
    size_t pointer = offsetof(struct seccomp_data, instruction_pointer);
    add_load(program, pointer + 4);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(start >> 32), 0, 4);
    add_load(program, pointer);
    add(program, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)start, 0, 2);
    add(program, BPF_JMP | BPF_JGT | BPF_K, (uint32_t)end, 1, 0);
    add_return(program, SECCOMP_RET_ALLOW);
    add_return(program, (engine.tracing ? SECCOMP_RET_TRACE : SECCOMP_RET_TRAP) | mark);
}

/* Whether the call is one of those that are trapped only with an argument: seven lines each. */
static void add_optional(struct program *program, long number, unsigned argument)
{
    size_t offset = offsetof(struct seccomp_data, args) + 8 * argument;
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 6);
    add_load(program, offset);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
    add_load(program, offset + 4);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
    add_return(program, SECCOMP_RET_ALLOW);
    /* A jump to the verdict, set when its place is known. */
    add(program, BPF_JMP | BPF_JA, 0, 0, 0);
}

/* Handlers of the signals by which threads are cancelled are the engine's under a tracer too: cancel.c.  The last of
 * five lines is a jump to the verdict, set when its place is known. */
static unsigned add_actions(struct program *program)
{
    add(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigaction, 0, 5);
    add_load(program, offsetof(struct seccomp_data, args));
    add(program, BPF_JMP | BPF_JGE | BPF_K, 32, 0, 1);
    add(program, BPF_JMP | BPF_JGT | BPF_K, 33, 0, 1);
    add_return(program, SECCOMP_RET_ALLOW);
    add(program, BPF_JMP | BPF_JA, 0, 0, 0);
    return program->count - 1;
}

static void add_untraced(struct program *program, bool i386)
{
    for (size_t i = 0; i < sizeof UNTRACED / sizeof *UNTRACED; i++) {
        short number = UNTRACED[i].number;
        if (i386)
            number = number == SYS_clone ? CLONE_I386 : SECCOMP_I386;
        add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4);
        add_load(program, offsetof(struct seccomp_data, args) + 8 * (size_t)UNTRACED[i].argument);
        add(program, BPF_JMP | BPF_JSET | BPF_K, UNTRACED[i].flag, 0, 1);
        add_return(program, SECCOMP_RET_ERRNO | (uint32_t)UNTRACED[i].error);
        add_return(program, SECCOMP_RET_ALLOW);
    }
}

/* The last of six lines is a jump to the verdict, set when its place is known. */
static unsigned add_requests(struct program *program)
{
    add(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 5);
    add_load(program, offsetof(struct seccomp_data, args) + 8);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)FS_IOC_SETFLAGS, 2, 0);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)FS_IOC_FSSETXATTR, 1, 0);
    add_return(program, SECCOMP_RET_ALLOW);
    add(program, BPF_JMP | BPF_JA, 0, 0, 0);
    return program->count - 1;
}

static bool is_optional(long number)
{
    for (size_t i = 0; i < OPTIONAL_COUNT; i++)
        if (OPTIONAL[i].number == number)
            return true;
    return false;
}

/* Those that only an emulated root needs: users.c and owners.c.  Some of them may be trapped already, which is no harm. */
static void add_root(struct program *program)
{
    short number;
    for (size_t i = 0; (number = users_call_number(i)) >= 0; i++)
        add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 0);
    for (size_t i = 0; (number = owners_call_number(i)) >= 0; i++)
        add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 0);
}

/* Lines that compare with a call's number, which jump over the rest of them and a return to the verdict. */
static void jumps_set(struct program *program, unsigned first)
{
    unsigned end = program->count;
    add_return(program, SECCOMP_RET_ALLOW);
    for (unsigned i = first; i < end; i++)
        program->lines[i].jt = (unsigned char)(end - i);
}

static unsigned add_trapped(struct program *program)
{
    unsigned first = program->count;
    for (size_t i = 0; !engine.tracing && i < sizeof SIGNALS / sizeof *SIGNALS; i++)
        add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)SIGNALS[i], 0, 0);
    for (size_t i = 0; engine.read_only && i < CHANGES_COUNT; i++)
        add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)CHANGES[i], 0, 0);
    if (engine.root)
        add_root(program);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 0);
    for (size_t i = 0; i < call_count; i++)
        if (!is_optional(call_table[i].number))
            add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call_table[i].number, 0, 0);
    return first;
}

/* ---- calls of 32-bit numbers, which programs of 64 bits can make as well: i386_frames.c answers those ---- */

/* The number of a 64-bit call is loaded; the line that is returned is to be given to add_i386. */
static unsigned add_head(struct program *program)
{
    add_load(program, offsetof(struct seccomp_data, arch));
    add(program, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    add(program, BPF_JMP | BPF_JA, 0, 0, 0);
    add_load(program, offsetof(struct seccomp_data, nr));
    return program->count - 2;
}

/* Traps the entries of a kind, or those of one call of 64 bits. */
static void add_i386(struct program *program, unsigned head, unsigned when, long twin)
{
    unsigned start = program->count;
    program->lines[head].k = start - head - 1;
    add(program, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 1, 0);
    add_return(program, SECCOMP_RET_ERRNO | ENOSYS);
    add_load(program, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; (when & I386_ALWAYS) && i < sizeof REFUSED_I386 / sizeof *REFUSED_I386; i++)
        add_refusal(program, REFUSED_I386[i], ENOSYS);
    if ((when & I386_ALWAYS) && engine.tracing)
        add_untraced(program, true);
    unsigned first = program->count;
    for (size_t i = 0; i < i386_count; i++)
        if ((i386_table[i].when & when) && (twin < 0 || i386_table[i].twin == twin))
            add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)i386_table[i].number, 0, 0);
    jumps_set(program, first);
    add_verdict(program, TRAP_MARK_I386);
}

static unsigned i386_when(void)
{
    return I386_ALWAYS | (engine.tracing ? 0 : I386_MASKS) | (engine.read_only ? I386_CHANGES : 0) |
           (engine.root ? I386_ROOT : 0) | (engine.mm_map ? 0 : I386_HEAP);
}

static void build(struct program *program)
{
    unsigned head = add_head(program);
    add(program, BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1);
    add_return(program, SECCOMP_RET_ERRNO | ENOSYS);
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        add_refusal(program, REFUSED[i], ENOSYS);
    add_refusal(program, FILTER_QUESTION, FILTER_ANSWER);
    if (engine.tracing)
        add_untraced(program, false);
    unsigned optional = program->count, from = first_optional();
    for (size_t i = from; i < OPTIONAL_COUNT; i++)
        add_optional(program, OPTIONAL[i].number, (unsigned)OPTIONAL[i].argument);
    unsigned requests = engine.read_only ? add_requests(program) : 0;
    unsigned actions = engine.tracing ? add_actions(program) : 0;
    unsigned first = add_trapped(program), end = program->count;
    jumps_set(program, first);
    for (unsigned i = 0; i < OPTIONAL_COUNT - from; i++) {
        unsigned jump = optional + 7 * i + 6;
        program->lines[jump].k = end - jump;
    }
    if (requests > 0)
        program->lines[requests].k = end - requests;
    if (actions > 0)
        program->lines[actions].k = end - actions;
    add_verdict(program, TRAP_MARK);
    add_i386(program, head, i386_when(), -1);
}

/* Where the kernel takes no filter a tracer asks the same ones. */
static struct program kept[KEPT];
static unsigned kept_count;

static int keep(const struct program *program)
{
    if (kept_count == KEPT)
        return -ENOSPC;
    kept[kept_count++] = *program;
    return 0;
}

const struct sock_filter *filter_kept(unsigned number)
{
    return number < kept_count ? kept[number].lines : NULL;
}

static int install(struct program *program)
{
    if (engine.tracing == TRACE_ALL)
        return keep(program);
    struct sock_fprog text = {(unsigned short)program->count, program->lines};
    long result = sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (result == 0)
        result = sys_call3(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &text);
    return (int)result;
}

int filter_install(void)
{
    struct program program;
    program.count = 0;
    build(&program);
    return install(&program);
}

int filter_add_call(long number)
{
    struct program program;
    program.count = 0;
    unsigned head = add_head(&program);
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 1, 0);
    add_return(&program, SECCOMP_RET_ALLOW);
    add_verdict(&program, TRAP_MARK);
    add_i386(&program, head, I386_ASKED, number);
    return install(&program);
}

static const short DEBUGGED[] = {SYS_wait4, SYS_kill, SYS_tkill, SYS_tgkill};
uint8_t filter_debugged;

bool filter_is_debugged(long number)
{
    for (size_t i = 0; i < sizeof DEBUGGED / sizeof *DEBUGGED; i++)
        if (DEBUGGED[i] == number)
            return true;
    return false;
}

int filter_add_debugged(void)
{
    struct program program;
    if (engine.tracing == TRACE_ALL) { /* a tracer that judges looks at this */
        filter_debugged = true;
        return 0;
    }
    program.count = 0;
    unsigned head = add_head(&program), first = program.count;
    for (size_t i = 0; i < sizeof DEBUGGED / sizeof *DEBUGGED; i++)
        add(&program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)DEBUGGED[i], 0, 0);
    jumps_set(&program, first);
    add_verdict(&program, TRAP_MARK);
    add_i386(&program, head, 0, -1);
    return install(&program);
}

int filter_add_root(void)
{
    struct program program;
    program.count = 0;
    unsigned head = add_head(&program), first = program.count;
    add_root(&program);
    jumps_set(&program, first);
    add_verdict(&program, TRAP_MARK);
    add_i386(&program, head, I386_ROOT, -1);
    return install(&program);
}

/* A tracer does not learn what an engine in the container asks for later (main.c, nested). */
void filter_keep(void)
{
    engine.read_only = true;
    filter_install();
    filter_add_call(SYS_uname);
    filter_add_call(SYS_getdents64);
    filter_add_root();
}

bool filter_is_engine(uintptr_t place)
{
    return place >= (uintptr_t)trap_text_start && place <= (uintptr_t)trap_text_end;
}
