/* Programs that start others, and what a process is. */

#include "probe.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>

void programs_start_in_every_way(void)
{
    char *arguments[] = {"another name", "started", "as asked", NULL};
    char *environment[] = {"ONLY=this", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        execve(self, arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    EXPECT((child = vfork()) >= 0);
    if (child == 0) {
        execve(self, arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    EXPECT(posix_spawn(&child, self, NULL, NULL, arguments, environment) == 0 && ended_well(child));
    EXPECT(posix_spawn_file_actions_init(&actions) == 0);
    EXPECT(posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) == 0);
    EXPECT(posix_spawn(&child, self, &actions, NULL, arguments, environment) == 0 && ended_well(child));
    EXPECT(posix_spawn(&child, "/no/such/program", NULL, NULL, arguments, environment) == ENOENT);
    EXPECT((child = fork()) >= 0);
    if (child == 0) {
        int file = open(self, O_RDONLY | O_CLOEXEC);
        fexecve(file, arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    EXPECT(execve("/etc/passwd", arguments, environment) == -1 && errno == EACCES);
    EXPECT(execve("/no/such/program", arguments, environment) == -1 && errno == ENOENT);
    EXPECT(execve("/etc", arguments, environment) == -1 && errno == EACCES);
}

void what_cannot_start_leaves_all_as_it_was(void)
{
    static const struct {
        const char *path;
        int error;
    } wrong[] = {
        {"/", EACCES},           {"/etc/", EACCES},          {"/etc/passwd/", ENOTDIR}, {"/etc/../etc", EACCES},
        {"/no/../such", ENOENT}, {"/etc/../such/x", ENOENT}, {"loop", ELOOP},           {"pipe", EACCES},
        {"empty", ENOEXEC},      {"/dev/null", EACCES},      {"", ENOENT},
    };
    char *arguments[] = {"x", NULL}, path[PATH_MAX];
    int first = dup(0), last = dup(0), next = fcntl(last + 1, F_GETFD);
    EXPECT(symlink("loop", "loop") == 0 && mkfifo("pipe", 0755) == 0);
    file_make("empty", "");
    EXPECT(chmod("empty", 0755) == 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *name = wrong[i].path;
        EXPECT(execve(name, arguments, environ) == -1 && errno == wrong[i].error);
        snprintf(path, sizeof path, "%s/%s", place, name);
        if (name[0] && name[0] != '/')
            EXPECT(execve(path, arguments, environ) == -1 && errno == wrong[i].error);
        for (int file = 0; file <= last; file++)
            EXPECT(fcntl(file, F_GETFD) >= 0);
        EXPECT(fcntl(last + 1, F_GETFD) == next);
    }
    EXPECT(close(first) == 0 && close(last) == 0);
}

void scripts_start_by_their_interpreters(void)
{
    char text[PATH_MAX + 32], *arguments[] = {"ignored", "second", NULL}, *environment[] = {"ONLY=this", NULL};
    snprintf(text, sizeof text, "#!%s script-argument\nnot read\n", self);
    file_make("script", text);
    EXPECT(chmod("script", 0755) == 0);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        execve("./script", arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    /* An interpreter that is a script itself. */
    snprintf(text, sizeof text, "#!%s/script\n", place);
    file_make("outer", text);
    EXPECT(chmod("outer", 0755) == 0);
    EXPECT((child = fork()) >= 0);
    if (child == 0) {
        execve("./outer", arguments, environment);
        _exit(99);
    }
    EXPECT(ended_well(child));
    file_make("broken", "#!/no/interpreter\n");
    EXPECT(chmod("broken", 0755) == 0);
    EXPECT(execve("./broken", arguments, environment) == -1 && errno == ENOENT);
}

void the_process_is_this_program(void)
{
    char text[PATH_MAX], command[PATH_MAX] = "";
    ssize_t size = readlink("/proc/self/exe", text, sizeof text - 1);
    EXPECT(size > 0);
    text[size] = '\0';
    EXPECT(strcmp(text, self) == 0);
    size = readlink("/proc/self/cwd", text, sizeof text - 1);
    EXPECT(size > 0);
    text[size] = '\0';
    EXPECT(strcmp(text, place) == 0);
    EXPECT(readlink("/proc/self/root", text, sizeof text) == 1 && text[0] == '/');
    EXPECT(file_is("/proc/self/comm", "image_probe\n"));
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    EXPECT(file >= 0 && read(file, command, sizeof command) > 0);
    EXPECT(strstr(command, "image_probe") && strcmp(command + strlen(command) + 1, "process") == 0);
    file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    snprintf(command, sizeof command, "/proc/self/fd/%d", file);
    size = readlink(command, text, sizeof text - 1);
    EXPECT(size == 11 && memcmp(text, "/etc/passwd", 11) == 0);
}

void descriptors_close_at_exec(void)
{
    char number[16], *arguments[] = {"image_probe", "closed", number, NULL};
    int kept = open("/etc/passwd", O_RDONLY), closed = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    EXPECT(kept >= 0 && closed >= 0);
    snprintf(number, sizeof number, "%d", closed);
    pid_t child;
    EXPECT(posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0 && ended_well(child));
    EXPECT(close(kept) == 0 && close(closed) == 0);
}

/* ---- what the checks start this program for ---- */

static int started(int argc, char **argv)
{
    bool script = argc > 1 && strcmp(argv[1], "script-argument") == 0;
    const char *last = argv[argc - 1];
    bool as_asked = script ? strcmp(last, "second") == 0 : argc == 3 && strcmp(last, "as asked") == 0;
    bool named = script || strcmp(argv[0], "another name") == 0;
    return as_asked && named && environ[0] && strcmp(environ[0], "ONLY=this") == 0 && !environ[1] ? 0 : 1;
}

static int inherited(void)
{
    struct sigaction action;
    sigset_t set;
    EXPECT(sigaction(SIGUSR2, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    EXPECT(sigprocmask(SIG_BLOCK, NULL, &set) == 0 && sigismember(&set, SIGUSR1) && !sigismember(&set, SIGUSR2));
    return 0;
}

int child_main(int argc, char **argv)
{
    if (strcmp(argv[1], "nothing") == 0)
        return 0;
    if (strcmp(argv[1], "inherited") == 0)
        return inherited();
    if (strcmp(argv[1], "closed") == 0)
        return fcntl(atoi(argv[2]), F_GETFD) == -1 && errno == EBADF ? 0 : 1;
    if (strcmp(argv[1], "started") == 0 || strcmp(argv[1], "script-argument") == 0)
        return started(argc, argv);
    printf("no such check: %s\n", argv[1]);
    return 2;
}
