/* udocker-account: runs the program of a rank and writes down what it used.
 *
 *   udocker-account RECORD TEMPORARY PATH PROGRAM [ARGUMENT...]
 *
 *   RECORD     the number of an open file: the record as JSON, without what is not known before the end and
 *              without its closing brace
 *   TEMPORARY  is written, and then becomes PATH
 *
 * A parent that takes no memory worth the name, for there is one for each rank.  It adopts orphans (prctl(2),
 * PR_SET_CHILD_SUBREAPER), so that what it reaps holds every descendant that has ended.  What the program
 * leaves running is the batch system's to end, as without us.
 *
 * The program stays in this process's group and session.  Signals are passed on to it: of a step Slurm signals the
 * processes that it has started itself.  One from the kernel, as by a terminal's keys, comes to the whole
 * foreground group and is passed on only where the program has left that, as shells do.
 *
 * Exit status: the program's own; a signal that ended it ends this as well.  A record that cannot be written costs
 * one line on standard error and nothing else.
 */

#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_OURS = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };
enum { FIRST_OTHER = 3, OLD_LIMIT = 1024 };

static const int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};

static void report(const char *object, int error)
{
    char line[4600];
    int length = snprintf(line, sizeof line, "udocker-batch: rank: %.4096s: %s\n", object, strerror(error));
    if (write(STDERR_FILENO, line, (size_t)length) < 0) {
        /* Standard error is closed: the exit status tells what is left to tell. */
    }
}

static sigset_t signals_hold(sigset_t *before)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGCHLD);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
        sigaddset(&held, passed_on[i]);
    sigprocmask(SIG_BLOCK, &held, before);
    return held;
}

/* The kernel reaps the children of who ignores SIGCHLD, and drops their times (wait(2), NOTES). */
static pid_t program_start(char **command, const sigset_t *mask)
{
    struct sigaction before, noticed = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &noticed, &before);
    pid_t program = fork();
    if (program != 0)
        return program;
    sigaction(SIGCHLD, &before, NULL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execv(command[0], command);
    report(command[0], errno);
    _exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Whoever reads what the program writes sees the end of it when the program closes it; leases on files, too. */
static void descriptors_drop(int record)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    dup2(record, FIRST_OTHER);
    if (syscall(SYS_close_range, FIRST_OTHER + 1, ~0U, 0) != 0) /* Linux 5.9 */
        for (int fd = FIRST_OTHER + 1; fd < OLD_LIMIT; fd++)
            close(fd);
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* Reaps all that has ended; whether the program is among it. */
static bool reap(pid_t program, struct used *used)
{
    bool is_over = false;
    struct rusage usage;
    int status;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;) {
        used->user += seconds_of(usage.ru_utime);
        used->system += seconds_of(usage.ru_stime);
        if (usage.ru_maxrss > used->largest)
            used->largest = usage.ru_maxrss;
        if (pid == program) {
            used->status = status;
            is_over = true;
        }
    }
    return is_over;
}

static void program_wait(pid_t program, const sigset_t *held, struct used *used)
{
    while (!reap(program, used)) {
        siginfo_t told;
        int number = sigwaitinfo(held, &told);
        bool has_it = told.si_code == SI_KERNEL && getpgid(program) == getpgrp();
        if (number > 0 && number != SIGCHLD && !has_it)
            kill(program, number);
    }
}

static int exit_as(int status)
{
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    int number = WTERMSIG(status);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* the program's own is enough */
    signal(number, SIG_DFL);
    raise(number);
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, number);
    sigprocmask(SIG_UNBLOCK, &ours, NULL);
    return 128 + number;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        report("arguments", EINVAL);
        return EXIT_OURS;
    }
    int record = atoi(argv[1]);
    fcntl(record, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    sigset_t before, held = signals_hold(&before);
    struct used used = {.begun = moment_now()};
    pid_t program = program_start(argv + 4, &before);
    if (program < 0) {
        report(argv[4], errno);
        return EXIT_OURS;
    }
    descriptors_drop(record);
    program_wait(program, &held, &used);
    int error = record_write(FIRST_OTHER, &used, argv[2], argv[3]);
    if (error)
        report(argv[3], -error);
    return exit_as(used.status);
}
