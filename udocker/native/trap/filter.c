/* The seccomp filter: traps the calls of the table, wherever they come from but this text.
 *
 * It is inherited by every program that is started, and filters add up; so it is installed once, and asks a
 * number that no call has to tell the next engine of it.
 */

#include <errno.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "i386.h"
#include "sieve.h"

enum { KEPT = 8 };

/* From here on the same calls have other numbers: __X32_SYSCALL_BIT of syscall(2). */
enum { X32 = 0x40000000 };

/* Calls that must not happen at all: the C library does without them.  clone3 has flags in memory that would take the child's
 * handler of SIGSYS away, or its tracer; glibc, of 64 bits and of 32, then makes clone, and musl makes no other.  The last
 * ones open what the container does not see: by a descriptor of another process, a handle, or a path among a file
 * system's options. */
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

enum { OPTIONAL_COUNT = sizeof OPTIONAL / sizeof *OPTIONAL, WAITS = 4 /* the first of them */ };

/* Trapped only where some view is read-only. */
static const short CHANGES[] = {SYS_fchmod, SYS_fchown, SYS_fsetxattr, SYS_fremovexattr};

/* Flags that lead past a tracer: of clone(2) one for a child without, of seccomp(2) the one for a process that lets
 * calls go on before the tracer is asked (SECCOMP_RET_USER_NOTIF), which kernels before 5.0 lack. */
static const struct rule UNTRACED[] = {
    {.number = SYS_clone, .act = ACT_FLAG, .argument = 0, .error = EPERM, .values = {0x00800000u /* CLONE_UNTRACED */}},
    {.number = SYS_seccomp, .act = ACT_FLAG, .argument = 1, .error = EINVAL,
     .values = {8 /* SECCOMP_FILTER_FLAG_NEW_LISTENER */}},
};

/* The same of i386, whose numbers since 424 are these. */
static const short REFUSED_I386[] = {
    435 /* clone3 */, 425 /* io_uring_setup */, 374 /* userfaultfd */, 342 /* open_by_handle_at */, 430, 431, 432, 438,
};
enum { CLONE_I386 = 120, SECCOMP_I386 = 354 };

static void add_refused(struct rules *rules, const short *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rules_add(rules, (struct rule){.number = (uint32_t)numbers[i], .act = ACT_REFUSE, .error = ENOSYS});
}

static void add_trapped(struct rules *rules, const short *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rules_add(rules, (struct rule){.number = (uint32_t)numbers[i], .act = ACT_TRAP});
}

static void add_untraced(struct rules *rules, bool i386)
{
    for (size_t i = 0; i < sizeof UNTRACED / sizeof *UNTRACED; i++) {
        struct rule rule = UNTRACED[i];
        if (i386)
            rule.number = rule.number == SYS_clone ? CLONE_I386 : SECCOMP_I386;
        rules_add(rules, rule);
    }
}

/* How a thread is scheduled, which a tracer changes for moments (../tracer/place.c): these stop, but the engine has nothing to
 * do with them.  The first argument is the thread. */
static const struct {
    short number;
    enum scheduling what;
} SCHEDULING[] = {
    {SYS_sched_setparam, SCHEDULING_SET},    {SYS_sched_setscheduler, SCHEDULING_SET},
    {SYS_sched_getscheduler, SCHEDULING_GET}, {SYS_sched_setaffinity, SCHEDULING_SET},
    {SYS_sched_getaffinity, SCHEDULING_GET}, {SYS_sched_setattr, SCHEDULING_SET},
    {SYS_sched_getattr, SCHEDULING_GET},
};

static void add_scheduling(struct rules *rules)
{
    for (size_t i = 0; i < sizeof SCHEDULING / sizeof *SCHEDULING; i++)
        add_trapped(rules, &SCHEDULING[i].number, 1);
}

enum scheduling filter_scheduling(long number, bool i386)
{
    for (size_t i = 0; i386 && i < i386_count; i++)
        if (i386_table[i].number == number)
            return i386_table[i].when & I386_SCHEDULING ? filter_scheduling(i386_table[i].twin, false) : SCHEDULING_NONE;
    for (size_t i = 0; !i386 && i < sizeof SCHEDULING / sizeof *SCHEDULING; i++)
        if (SCHEDULING[i].number == number)
            return SCHEDULING[i].what;
    return SCHEDULING_NONE;
}

/* Those that only an emulated root needs: users.c and owners.c.  Some of them may be trapped already. */
static void add_root(struct rules *rules)
{
    short number;
    for (size_t i = 0; (number = users_call_number(i)) >= 0; i++)
        add_trapped(rules, &number, 1);
    for (size_t i = 0; (number = owners_call_number(i)) >= 0; i++)
        add_trapped(rules, &number, 1);
}

/* ---- calls of 32-bit numbers, which programs of 64 bits can make as well: i386_frames.c answers those ---- */

/* The number of a 64-bit call is loaded; the line that is returned is to be given to write_i386. */
static unsigned write_head(struct program *program)
{
    program_load(program, offsetof(struct seccomp_data, arch));
    program_add(program, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    program_add(program, BPF_JMP | BPF_JA, 0, 0, 0);
    program_load(program, offsetof(struct seccomp_data, nr));
    return program->count - 2;
}

/* Traps the entries of a kind, or those of one call of 64 bits. */
static void write_i386(struct program *program, unsigned head, unsigned when, long twin)
{
    struct rules rules;
    rules.count = 0;
    program->lines[head].k = program->count - head - 1;
    program_add(program, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 1, 0);
    program_return(program, SECCOMP_RET_ERRNO | ENOSYS);
    program_load(program, offsetof(struct seccomp_data, nr));
    if (when & I386_ALWAYS)
        add_refused(&rules, REFUSED_I386, sizeof REFUSED_I386 / sizeof *REFUSED_I386);
    if ((when & I386_ALWAYS) && engine.tracing)
        add_untraced(&rules, true);
    for (size_t i = 0; i < i386_count; i++)
        if ((i386_table[i].when & when) && (twin < 0 || i386_table[i].twin == twin))
            add_trapped(&rules, &i386_table[i].number, 1);
    sieve_write(program, &rules, TRAP_MARK_I386);
}

static unsigned i386_when(void)
{
    return I386_ALWAYS | (engine.tracing ? I386_SCHEDULING : I386_MASKS) | (engine.read_only ? I386_CHANGES : 0) |
           (engine.root ? I386_ROOT : 0) | (engine.mm_map ? 0 : I386_HEAP);
}

/* What a tracer brings needs no signal of the guest's, so the guest may do with its masks what it likes; only handlers of the
 * signals by which threads are cancelled are the engine's all the same: cancel.c. */
static void add_signals(struct rules *rules)
{
    if (engine.tracing)
        rules_add(rules, (struct rule){.number = SYS_rt_sigaction, .act = ACT_EITHER, .values = {32, 33}});
    else
        add_trapped(rules, SIGNALS, sizeof SIGNALS / sizeof *SIGNALS);
    for (size_t i = engine.tracing ? WAITS : 0; i < OPTIONAL_COUNT; i++)
        rules_add(rules, (struct rule){.number = (uint32_t)OPTIONAL[i].number, .act = ACT_POINTER,
                                       .argument = (uint8_t)OPTIONAL[i].argument});
}

/* Changes of what a descriptor is open on, which needs no right to write; and two requests of ioctl(2) that are such. */
static void add_changes(struct rules *rules)
{
    add_trapped(rules, CHANGES, sizeof CHANGES / sizeof *CHANGES);
    rules_add(rules, (struct rule){.number = SYS_ioctl, .act = ACT_EITHER, .argument = 1,
                                   .values = {(uint32_t)FS_IOC_SETFLAGS, (uint32_t)FS_IOC_FSSETXATTR}});
}

static void build(struct program *program)
{
    static const short ptrace = SYS_ptrace;
    struct rules rules;
    rules.count = 0;
    add_refused(&rules, REFUSED, sizeof REFUSED / sizeof *REFUSED);
    rules_add(&rules, (struct rule){.number = FILTER_QUESTION, .act = ACT_REFUSE, .error = FILTER_ANSWER});
    if (engine.tracing) {
        add_untraced(&rules, false);
        add_scheduling(&rules);
    }
    add_signals(&rules);
    if (engine.read_only)
        add_changes(&rules);
    if (engine.root)
        add_root(&rules);
    add_trapped(&rules, &ptrace, 1);
    for (size_t i = 0; i < call_count; i++)
        add_trapped(&rules, &call_table[i].number, 1);
    unsigned head = write_head(program);
    program_add(program, BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1);
    program_return(program, SECCOMP_RET_ERRNO | ENOSYS);
    sieve_write(program, &rules, TRAP_MARK);
    write_i386(program, head, i386_when(), -1);
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

/* A filter of its own for what is trapped besides. */
static int install_more(const struct rules *rules, unsigned when, long twin)
{
    struct program program;
    program.count = 0;
    unsigned head = write_head(&program);
    sieve_write(&program, rules, TRAP_MARK);
    write_i386(&program, head, when, twin);
    return install(&program);
}

int filter_add_call(long number)
{
    struct rules rules;
    rules.count = 0;
    rules_add(&rules, (struct rule){.number = (uint32_t)number, .act = ACT_TRAP});
    return install_more(&rules, I386_ASKED, number);
}

static const short DEBUGGED[] = {SYS_wait4, SYS_waitid, SYS_kill, SYS_tkill, SYS_tgkill};
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
    struct rules rules;
    if (engine.tracing == TRACE_ALL) { /* a tracer that judges looks at this */
        filter_debugged = true;
        return 0;
    }
    rules.count = 0;
    add_trapped(&rules, DEBUGGED, sizeof DEBUGGED / sizeof *DEBUGGED);
    return install_more(&rules, 0, -1);
}

int filter_add_scheduling(void)
{
    struct rules rules;
    rules.count = 0;
    add_scheduling(&rules);
    return install_more(&rules, I386_SCHEDULING, -1);
}

int filter_add_root(void)
{
    struct rules rules;
    rules.count = 0;
    add_root(&rules);
    return install_more(&rules, I386_ROOT, -1);
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
