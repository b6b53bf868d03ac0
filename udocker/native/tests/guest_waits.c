/* A debugger that waits by waitid(2), run as "PROGRAM WAY": a line for each stop of its child, and for each of that one's
 * calls its number and whether it failed.  What it prints is the same wherever it runs. */

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { ENDS_WITH = 7 };

/* ---- who is traced ---- */

static void hear(int signal)
{
    (void)signal;
    access("/from/a/handler", F_OK);
}

static int debuggee(void)
{
    char text[64];
    struct stat info;
    int file = open("/etc/passwd", O_RDONLY);
    signal(SIGUSR1, hear);
    if (read(file, text, sizeof text) < 0 || close(file) < 0)
        return 1;
    for (int i = 0; i < 10; i++) /* more often than a call site stays as it is */
        access(i % 2 ? "/bin/busybox" : "/not/there", F_OK);
    getppid(); /* behind which comes a signal of the debugger's */
    stat("/bin", &info);
    mkdir("/no/such/place", 0755);
    return ENDS_WITH;
}

/* ---- who traces ---- */

struct way {
    const char *name;
    idtype_t kind;
    int options; /* besides the usual ones */
};

static const struct way WAYS[] = {
    {"one", P_PID, 0},
    {"all", P_ALL, __WALL},
    {"group", P_PGID, 0},
    {"descriptor", P_PIDFD, 0},
    {"twice", P_PID, WNOWAIT},
    {"twice-all", P_ALL, WNOWAIT},
    {"polling", P_PID, WNOHANG},
    {"ends-only", P_PID, 0},
};

static id_t whom(const struct way *way, pid_t child)
{
    if (way->kind == P_PIDFD) {
        long file = syscall(434 /* pidfd_open */, child, 0);
        EXPECT(file >= 0);
        return (id_t)file;
    }
    return way->kind == P_PGID ? (id_t)getpgrp() : (id_t)child;
}

static void await(const struct way *way, id_t id, pid_t child, siginfo_t *told)
{
    const int usual = WEXITED | (strcmp(way->name, "ends-only") ? WSTOPPED : 0); /* tracees' stops are told all the same */
    siginfo_t first;
    do {
        memset(told, 0xff, sizeof *told);
        EXPECT(waitid(way->kind, id, told, usual | way->options) == 0);
        if (told->si_pid == 0)
            usleep(100);
    } while (told->si_pid == 0);
    EXPECT(told->si_signo == SIGCHLD && told->si_pid == child && told->si_uid == getuid() && told->si_errno == 0);
    if (!(way->options & WNOWAIT))
        return;
    first = *told;
    EXPECT(waitid(way->kind, id, told, usual) == 0 && told->si_pid == child);
    EXPECT(told->si_code == first.si_code && told->si_status == first.si_status);
}

/* Shows a stop; the signal to go on with. */
static int show(pid_t child, const siginfo_t *told)
{
    static bool in_call;
    struct user_regs_struct r;
    EXPECT(told->si_code == CLD_TRAPPED && ptrace(PTRACE_GETREGS, child, 0, &r) == 0);
    if (told->si_status != (SIGTRAP | 0x80)) {
        printf("stop %x\n", (unsigned)told->si_status);
        return told->si_status == SIGUSR1 ? SIGUSR1 : 0;
    }
    in_call = !in_call;
    if (in_call)
        printf("%d", (int)r.orig_rax);
    else
        printf(" %s\n", (long)r.rax < 0 && (long)r.rax > -4096 ? strerror((int)-(long)r.rax) : "done");
    if (!in_call && r.orig_rax == SYS_getppid)
        kill(child, SIGUSR1);
    return 0;
}

static int debug(const struct way *way, pid_t child)
{
    id_t id = whom(way, child);
    siginfo_t told;
    int signal = 0;
    await(way, id, child, &told);
    EXPECT(told.si_code == CLD_TRAPPED && told.si_status == SIGSTOP);
    EXPECT(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) == 0);
    for (;;) {
        EXPECT(ptrace(PTRACE_SYSCALL, child, 0, signal) == 0);
        await(way, id, child, &told);
        if (told.si_code != CLD_TRAPPED)
            break;
        signal = show(child, &told);
    }
    printf("\nend %d %d\n", told.si_code, told.si_status);
    EXPECT(waitid(P_ALL, 0, &told, WEXITED) == -1 && errno == ECHILD);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return debuggee();
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++)
        if (strcmp(WAYS[i].name, argv[1]) == 0) {
            pid_t child = fork();
            if (child == 0) {
                ptrace(PTRACE_TRACEME, 0, 0, 0);
                raise(SIGSTOP);
                execl(argv[0], argv[0], NULL);
                _exit(99);
            }
            return debug(&WAYS[i], child);
        }
    return 2;
}
