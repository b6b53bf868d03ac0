/* udocker-trap: runs a container's programs without privileges, by translating their system calls inside
 * their own processes.  begin.c tells how it is called, engine.c how it works.
 *
 * No C library: this text shares a process with programs that have their own, or none.  Functions return 0
 * or a count, or -errno.
 */
#ifndef TRAP_H
#define TRAP_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

enum { SYSCALL_SIZE = 2 };

/* Who brings a guest's call to the engine: a signal, or a tracer outside, which the filter calls at those that matter
 * or which looks at each call itself (../tracer). */
enum tracing { TRACE_NONE, TRACE_PATHS, TRACE_ALL };

/* Who debugs a program that begins: nobody, who has asked for it (land.c), or who traces it anyway (debug.c). */
enum debugged { DEBUG_NONE, DEBUG_ASKED, DEBUG_FOLLOWED };

/* Everything lies in one text at one address: no table of addresses stands between the files. */
#pragma GCC visibility push(hidden)

#include "../net/ports.h"
#include "../path/calls.h"
#include "../path/path.h"
#include "../path/sys.h"
#include "../root/root.h"

enum { EXIT_LAUNCHER = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* A signal's disposition as rt_sigaction(2) takes it. */
struct disposition {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

/* Runs programs of another machine: foreign.c. */
struct emulator {
    unsigned machine;
    const char *path; /* NULL for none */
    const char *text; /* as foreign_take has it */
    bool is_here;     /* this process is one */
};

/* Where the program's dynamic loader lies: loader.c.  "guest" is what the program names, "" for none; `link` is on the
 * host, what the way to it ends with, "" for none, and `text` what that says. */
struct loader {
    const char *guest, *host, *link, *text;
};

/* What most programs need of other files' lies in one page as well, with the first of the stacks: trap.ld. */
#define HOT __attribute__((section(".bss.hot")))

enum { ENGINE_PAGE = 4096, ENGINE_TEXT = (1 << 16) - ENGINE_PAGE / 2 };

/* What this process's engine knows: made at its start, then only read, but for `guard`.  What every program needs lies
 * in one page, for each page costs a fault at every execve and fork: the texts, which fill from their end, then the
 * small things and the first views. */
struct engine {
    char text[ENGINE_TEXT]; /* the paths of the world, and the three below */
    size_t text_used;
    uint64_t guard;            /* signals that wait until a trapped call is on its own stack */
    bool openat2;              /* the kernel has it (5.6) */
    bool read_only;            /* some view is */
    bool patch;                /* call sites are rewritten after their first trap */
    bool mm_map;               /* the kernel is told where the guest's program is (3.18) */
    bool execmem;              /* memory may be both written and executed */
    uint8_t tracing;           /* enum tracing */
    bool root;                 /* the program is somebody else than the caller: users.c, owners.c */
    bool i386;                 /* it is one of 32 bits: i386.h */
    const char *self;          /* this program, on the host */
    const char *exe_host;      /* the guest's program */
    const char *exe_guest;
    struct loader loader;      /* NULL where it is not known */
    struct emulator emulator;
    char kernel[65];           /* what uname(2) answers for the release; empty for the truth */
    bool unlisted[PATH_VIEWS]; /* views whose names their directories lack: listing.c */
    bool nested;               /* this engine was started as a program */
    struct path_world world;
    struct ports ports;      /* published under other numbers */
    struct path_world outer; /* in which it was started */
};

extern struct engine engine;
extern uint8_t engine_debugged; /* enum debugged; a debugger outside writes it */

/* A call of the guest: its arguments, and the signal mask it returns to; NULL where it is the current one.  A call from a
 * rewritten site is put together in assembler: patch.c. */
struct trapped {
    long number;
    long arguments[6];
    uint64_t *mask;
    struct visit *i386; /* of a 32-bit program's call: i386.h; else NULL */
};

/* Makes the call with the arguments that it has by now. */
static inline long reissue(const struct trapped *call)
{
    const long *a = call->arguments;
    return sys_call6(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* user.c: the guest's memory, which may not be there.  -EFAULT, as the kernel has it. */
int user_check(const void *address);
int user_read(void *target, const void *address, size_t size);
int user_string(char target[PATH_SIZE], const char *address); /* its length; -ENAMETOOLONG */
int user_write(void *address, const void *source, size_t size);

struct held;

/* engine.c */
long engine_call(struct trapped *call);
int engine_add_view(const char *guest, const char *host, bool read_only);
const char *engine_keep(const char *text); /* a copy; NULL where there is no room */
int engine_put_view(const char *guest, const char *host, bool read_only); /* the same, without a look at an outer world */
void engine_nest(void); /* the views that are added from now on are of places in the world that there was */
int engine_outer_path(const char *text, struct path_place *place); /* in that world, or as it stands */

/* Puts the host's path in place of the guest's; 1 where the call is to be made as it is.  What is held is to be
 * let go after the call.  `offset` is that of a second path's arguments. */
int engine_replace(const struct call *entry, struct trapped *call, int offset, unsigned flags, struct held *held);
bool engine_follows(const struct call *entry, const struct trapped *call);

/* quick.c: false where the call is still to be made, as if nothing had been tried */
bool quick_call(const struct call *entry, struct trapped *call, long *result);

/* hold.c: the place of a path, for one call. */
enum hold_flags {
    HOLD_OBJECT = 16,    /* the object itself, a link too where links at the end are not followed: only its */
                         /* descriptor is used */
    HOLD_CHANGES = 32,   /* whether the place is read-only counts */
    HOLD_ENTERS = 128,   /* it is a directory to go to: only so is one mounted that waits to be, autofs(5) */
    HOLD_DIRECTORY = 64, /* the call takes a directory's descriptor beside a path */
};
struct held {
    struct path_place place;    /* length 0: the path was relative, and fine as it is */
    char text[PATH_SIZE + 64];
    const char *path; /* to be used with `dirfd` */
    int dirfd;
    long file; /* what is held, or negative */
    bool read_only;
};
int hold(int dirfd, const char *guest, unsigned flags, struct held *held);
void hold_end(struct held *held);
/* Opens a program's file that was walked to: -ELOOP where somebody has put a link in its way since. */
long hold_read(const char *host);
/* Whether what a descriptor is open on lies in a read-only view. */
bool hold_is_read_only(int file);
/* Where names mean more than they say: path/proc.h. */
bool hold_is_proc(const struct path_place *place);

/* open.c, exec.c, socket.c, answer.c: the calls that need more than a path translated */
long open_call(const struct call *entry, struct trapped *call);
enum { OPEN_TEMPORARY = 020000000 /* of O_TMPFILE */ };
bool open_changes(uint64_t flags); /* whether a read-only view refuses it */
long exec_call(const struct call *entry, struct trapped *call);
long exec_program(int dirfd, const char *guest, char *const *arguments, char *const *environment, int flags);
long socket_call(const struct call *entry, struct trapped *call);
int socket_protocol(long file); /* of a socket that can have published ports, else 0 */
/* What socket.c puts before a number of slashes and a path below a view; answer.c reads it. */
#define SOCKET_PREFIX "/proc/self/fd/"
long message_call(struct trapped *call);
long address_call(const struct call *entry, struct trapped *call);
long received_call(struct trapped *call);

/* users.c, owners.c: only where engine.root is set.  The calls that are trapped then are numbered from 0 on, -1 ends them; those
 * about files lie in call_table too, but for the ones of descriptors.  false: the call is to be made as any other. */
void users_begin(uint32_t uid, uint32_t gid, const struct stat *root);
size_t users_write(const struct stat *program, char text[ROOT_IDS_TEXT]);
int users_read(const char *text);
const struct root_ids *users_ids(void);
const struct root_host *users_host(void);
short users_call_number(size_t place);
bool users_call(const struct trapped *call, long *result);
short owners_call_number(size_t place);
bool owners_call(const struct call *entry, struct trapped *call, long *result);
bool owners_descriptor_call(const struct trapped *call, long *result);
void owners_hide(const struct trapped *call, long *result); /* after a call that lists attributes */
long owners_stat(long file, void *buffer);
long owners_statx(long file, long flags, long mask, void *buffer);
long owners_access(long file, long mode, bool effective);
long owners_held_access(const struct held *held, const struct call *entry, const struct trapped *call);
/* After EACCES: whether the file was closed to the caller, who may not be root, and is not any more. */
bool owners_unlock(int dirfd, const char *guest);
/* Of a file that open(2) makes: whether nothing has to be told of it, the permissions to make it with, and what to tell. */
bool owners_new_is_plain(uint64_t mode);
uint64_t owners_new_mode(uint64_t mode);
void owners_made(long file, uint64_t mode);

/* credentials.c: before a message is sent, whose control data is then in `room`; and after some were received */
struct msghdr;
enum { CREDENTIALS_ROOM = 1024 };
int credentials_lend(struct msghdr *message, char room[CREDENTIALS_ROOM]);
void credentials_show(const struct trapped *call, long result);
/* One sender, before and after. */
struct ucred;
int credentials_exchange(struct ucred *sender);
void credentials_turn(struct ucred *sender);

long chroot_call(const char *guest); /* chroot.c: of a directory that is there */

/* kernel.c, listing.c: uname(2) and getdents64(2), where they are trapped */
long kernel_call(const struct trapped *call);
long listing_call(const struct trapped *call);
bool listing_is_trapped(void);
void listing_hide(const char *guest); /* a view of that place, and no name in its directory */

/* signals.c */
#define SIGSYS_BIT (1ull << (SIGSYS - 1))
bool signal_is_call(long number);
long sigsys_set(const struct disposition *guest, struct disposition *old);
long signal_call(struct trapped *call);
void signal_install(void);
void signal_adopt(void); /* the same in a program that runs already */
void signal_guard(uint64_t mask);
void signal_on_sigsys(int number, siginfo_t *information, void *context, const struct disposition *guest);

/* stacks.c */
int stacks_map(const unsigned long *auxiliary);
long stacks_run(struct trapped *call);
/* lands: where it ends for a debugger */
void stacks_visit(const ucontext_t *context, bool i386, bool lands);
long stacks_show_guest(greg_t *registers);
const struct visit *stacks_visited(const char *at); /* the call that was trapped and is served on that stack, or NULL */
void stacks_abandon(const char *at);
bool stacks_are_alone(void); /* no other thread or process shares this one's memory */
/* guarded: signals to be unblocked */
_Noreturn void stacks_visit_traced(const long *registers, uint64_t guarded, bool i386);
/* ../tracer/inside.c */
void traced_leave(void); /* the engine has nothing to do any more, and the guest is about to go on */

/* land.c: the registers that a thread leaves the engine with, as stacks.c has them.  land() stops there for a debugger,
 * which takes the thread to where it is to be; without one it returns. */
struct landing {
    long ax, bx, bp, sp, ip, flags, r12, r13, r14, r15, di, si, dx, r10, r8, r9;
    int *claim;    /* to be set to 0 */
    long other[3]; /* of programs of 32 bits: stacks.h */
    long call;     /* its number */
};
extern const char land_stopped[]; /* where a thread is then */
extern const char land_fetched[]; /* where a tracer puts a thread that it leaves to a debugger */
void land(const struct landing *at);
void land_at_start(uintptr_t entry, const unsigned long *stack);
bool land_is_traced(void); /* this thread, by whomsoever */
long land_proc_number(const char *path, const char *field); /* of a file of proc(5), "NAME:\t" before it; 0 where it is not there */
long land_ask(void);       /* PTRACE_TRACEME */
bool land_is_asked(void);
long land_send(const struct trapped *call); /* kill(2) and its kin */
long land_begin_traced(void);
long land_fetch(long process); /* from under a tracer of our own, for a debugger to attach to */

/* debug.c: false where the call is none that concerns debuggers */
bool debug_is_debugger(int process); /* whether it is, and its calls are shown so */
bool debug_call(const struct trapped *call, long *result);

/* cancel.c: the signals by which threads are cancelled */
enum { CANCEL_FIRST = 32, CANCEL_COUNT = 2 };
bool cancel_is_signal(long number);
long cancel_set(long number, const struct disposition *guest, struct disposition *old);
void cancel_on_signal(int number, siginfo_t *information, void *context, const struct disposition *action);

/* actions.c: rt_sigaction(2) for a signal of ours.  `ours` is put in force, `guest` is what was asked for where that is
 * one of the three handlers (else NULL), `old` gets what the guest had asked for before.  `ours` NULL only asks; -ENOMEM
 * after some hundred different actions. */
long action_set(long number, const struct disposition *ours, const struct disposition *guest, struct disposition *old);
void action_enter_sigsys(int number, siginfo_t *information, void *context);
void action_enter_cancel(int number, siginfo_t *information, void *context);
void action_enter_i386(int number, siginfo_t *information, void *context);

/* filter.c.  TRAP_MARK tells our filter's signals from those of one that the guest has installed (seccomp(2),
 * SECCOMP_RET_DATA in si_errno: of two filters that trap a call the later one's). */
enum { TRAP_MARK = 0x7ea0, TRAP_MARK_I386 /* a call of 32-bit numbers */,
       LAND_MARK /* in their place: the call ends for a debugger, land.c */ };
int filter_install(void);
int filter_add_call(long number); /* one more is trapped, which only few runs ask for */
int filter_add_root(void);         /* what users.c and owners.c answer, where a filter is there already */
int filter_add_debugged(void);     /* what a process makes that debugs or is debugged: debug.c, land.c */
bool filter_is_debugged(long number); /* whether a call is one of those */
enum scheduling { SCHEDULING_NONE, SCHEDULING_GET, SCHEDULING_SET };
enum scheduling filter_scheduling(long number, bool i386); /* what a call wants with how a thread is scheduled */
int filter_add_scheduling(void); /* those calls, which a filter for a tracer stops, without one */
extern uint8_t filter_debugged;       /* whether a process has asked for them, where a tracer judges all calls */
/* A call that no kernel has, answered by the filter.  Here, for the rest of filter.c is for few starts: trap.ld. */
enum { FILTER_QUESTION = 0x5a5a, FILTER_ANSWER = 1234 };
static inline bool filter_is_installed(void)
{
    return sys_call0(FILTER_QUESTION) == -FILTER_ANSWER;
}
struct sock_filter;
void filter_keep(void); /* makes for filter_kept what no run asks for more of */
const struct sock_filter *filter_kept(unsigned number); /* what a tracer judges calls by; NULL after the last */
bool filter_is_engine(uintptr_t place); /* whether that lies in the engine's text */

/* patch.c */
void patch_site(unsigned char *call, long number);

/* load.c.  Besides the kernel's errors LOAD_32_BIT for a program of 32-bit addresses and 64-bit instructions (x32), and
 * LOAD_ENGINE for an engine. */
enum { LOAD_32_BIT = -5000, LOAD_ENGINE = -5001, LOAD_FOREIGN = -5002 /* for the emulator */ };
struct image {
    uintptr_t base, entry, headers;
    size_t header_count;
    uintptr_t code_start, code_end, data_start, data_end;
    uintptr_t brk; /* where the heap begins */
    bool executable_stack;
    bool i386; /* of 32 bits: i386.h */
};
enum { LOAD_START = 1024 };
enum load_as { LOAD_ALONE, LOAD_WITH_INTERPRETER, LOAD_INTERPRETER };
int load_program(const char *host, enum load_as as, struct image *image);
/* The path of the interpreter that a program names, which begins with the `size` bytes of `start`; empty for none. */
int load_check(int file, const char *start, long size, char interpreter[PATH_SIZE]);

/* loader.c */
struct loader_room; /* quick.h */
/* Opens a program by the container's path: the place, and its name without links.  False where it has to be walked to;
 * else `file` is a descriptor, or -errno. */
bool program_find(const char *guest, struct path_place *place, char name[PATH_SIZE], long *file);
long program_check(long file); /* whether execve(2) takes it; -ENOSYS where the kernel cannot be asked */
int loader_find(const char *guest, struct loader_room *room, struct loader *loader); /* may tell of `room` */
void loader_remember(const struct loader *loader);
int loader_load(const struct loader *loader, struct image *image);

/* foreign.c */
enum { FOREIGN_WORDS = 3 }; /* that an emulator adds to a program's arguments */
int foreign_take(const char *text);
bool foreign_is(const void *start); /* whether a file that begins so is for the emulator */
void foreign_begin(const char *program); /* which this process becomes */
void foreign_action(struct disposition *action);
size_t foreign_wrap(const char **arguments, size_t count, const char *program);

/* process.c: what the kernel and ps(1) believe of the process */
struct process {
    unsigned long stack, arguments, environment, environment_end; /* the strings lie behind each other */
    unsigned long auxiliary;
    unsigned auxiliary_size;
};
bool process_can_tell(void);
void process_tell(const struct process *process, const struct image *program);
void process_describe(unsigned long *stack, const unsigned long *auxiliary, const struct image *program);

/* maps.c: what /proc tells of processes' memory */
int maps_program(int dirfd, const char *link, const char *text, char guest[PATH_SIZE]);
bool maps_is_name(const char *path, size_t length);
long maps_translate(long file, bool closes_on_exec);

/* report.c */
void report_act(const char *act); /* what the lines are about; "run" at first */
void report_keep(void);           /* lines go on to where they went; the program has standard output for errors too */
void report_line(const char *object, const char *cause, const char *hint);
void report_error(const char *object, int error);
void report_error_hint(const char *object, int error, const char *hint); /* NULL for none */
_Noreturn void report_and_stop(const char *object, const char *cause, const char *hint); /* status 125 */
_Noreturn void report_failure(const char *object, long error); /* the same, for -errno */
_Noreturn void process_stop(int status);

/* main.c, begin.c */
void engine_start(const unsigned long *auxiliary);
int engine_begin(char **arguments, char **environment);

#pragma GCC visibility pop

#endif
