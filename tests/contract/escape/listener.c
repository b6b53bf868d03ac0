/* A program that answers for its own calls, and lets them go on as they were made: seccomp_unotify(2). */

#include "escape.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int listen_to(long number)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0x7fc00000u /* SECCOMP_RET_USER_NOTIF */),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 8ul /* SECCOMP_FILTER_FLAG_NEW_LISTENER */, &program);
}

static void let_go_on(int listener)
{
    for (;;) {
        struct seccomp_notif notice = {0};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice) < 0)
            continue;
        struct seccomp_notif_resp answer = {.id = notice.id, .flags = 1 /* SECCOMP_USER_NOTIF_FLAG_CONTINUE */};
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

static void try_by_itself(const struct scene *scene)
{
    int listener = listen_to(SYS_openat);
    pid_t answers = listener < 0 ? -1 : fork();
    if (answers == 0)
        let_go_on(listener);
    show(below(scene->outside, "secret"));
    if (answers > 0)
        kill(answers, SIGKILL);
}

void listener(const struct scene *scene)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        try_by_itself(scene);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}
