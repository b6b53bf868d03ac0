/* udocker-trap: runs a container's programs without privileges, by translating their system calls inside
 * their own processes.  begin.c tells how it is called, engine.c how it works.
 *
 * No C library: this text shares a process with programs that have their own, or none.  Functions return 0
 * or a count, or -errno.
 */
#ifndef TRAP_H
#define TRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything lies in one text at one address: no table of addresses stands between the files. */
#pragma GCC visibility push(hidden)

#include "../path/calls.h"
#include "../path/path.h"
#include "../path/sys.h"

enum { EXIT_LAUNCHER = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* A signal's disposition as rt_sigaction(2) takes it. */
struct disposition {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

/* What this process's engine knows: made at its start, then only read, but for `sigsys`. */
struct engine {
    struct path_world world;
    struct disposition sigsys; /* the guest's idea of SIGSYS, which is ours */
    bool openat2;              /* the kernel has it (5.6) */
    bool read_only;            /* some view is */
    bool patch;                /* call sites are rewritten after their first trap */
    uint8_t calls[512];        /* a call's number to its place in call_table, plus one */
    char kernel[65];           /* what uname(2) answers for the release; empty for the truth */
    char self[PATH_SIZE];      /* this program, on the host */
    char exe_host[PATH_SIZE];  /* the guest's program */
    char exe_guest[PATH_SIZE];
    char text[1 << 16]; /* the paths of the world */
    size_t text_used;
};

extern struct engine engine;

/* A call of the guest: its arguments, and the signal mask it returns to; NULL where it is the current one. */
struct trapped {
    long number;
    long arguments[6];
    uint64_t *mask;
};

/* user.c: the guest's memory, which may not be there.  -EFAULT, as the kernel has it. */
int user_check(const void *address);
int user_read(void *target, const void *address, size_t size);
int user_string(char target[PATH_SIZE], const char *address); /* its length; -ENAMETOOLONG */
int user_write(void *address, const void *source, size_t size);

/* engine.c */
long engine_call(struct trapped *call);
int engine_add_view(const char *guest, const char *host, bool read_only);

/* quick.c: false where the call is still to be made, as if nothing had been tried */
bool quick_call(const struct call *entry, struct trapped *call, long *result);

/* hold.c: the place of a path, for one call. */
enum hold_flags {
    HOLD_OBJECT = 16,    /* the object itself, a link too where links at the end are not followed: only its */
                         /* descriptor is used */
    HOLD_REMOVES = 32,   /* its name is taken away: not followed even where a slash follows */
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

/* open.c, exec.c, socket.c: the calls that need more than a path translated */
long open_call(const struct call *entry, struct trapped *call);
long exec_call(const struct call *entry, struct trapped *call);
long exec_program(int dirfd, const char *guest, char *const *arguments, char *const *environment, int flags);
long socket_call(const struct call *entry, struct trapped *call);
long message_call(struct trapped *call);

/* kernel.c: uname(2), where it is trapped */
long kernel_call(const struct trapped *call);

/* signals.c */
bool signal_is_call(long number);
long signal_call(struct trapped *call);
void signal_install(void);

/* stacks.c */
int stacks_map(void);
long stacks_run(struct trapped *call);

/* filter.c */
int filter_install(void);
bool filter_is_installed(void);

/* patch.c */
void patch_site(unsigned char *call, long number);

/* load.c */
struct image {
    uintptr_t base, entry, headers;
    size_t header_count;
};
int load_program(const char *host, struct image *image, char interpreter[PATH_SIZE]);
int load_check(int file, char interpreter[PATH_SIZE]);

/* process.c: what the kernel and ps(1) believe of the process */
void process_describe(uintptr_t arguments, const unsigned long *auxiliary);

/* report.c */
void report_line(const char *object, const char *cause, const char *hint);
void report_error(const char *object, int error);
void report_error_hint(const char *object, int error, const char *hint); /* NULL for none */
_Noreturn void report_and_stop(const char *object, const char *cause, const char *hint); /* status 125 */
_Noreturn void report_failure(const char *object, long error); /* the same, for -errno */
_Noreturn void process_stop(int status);

/* main.c, begin.c */
void engine_start(void);
int engine_begin(char **arguments, char **environment);

#pragma GCC visibility pop

#endif
