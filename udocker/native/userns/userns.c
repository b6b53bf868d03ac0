/* udocker-userns: runs a program in a container's root, without privileges.
 *
 *   udocker-userns --root DIR [OPTION...] -- PROGRAM [ARGUMENT...]
 *   udocker-userns --probe
 *
 *   --root DIR              the container's root directory on the host
 *   --uid N, --gid N        what the caller's user and group are called inside (the caller's own)
 *   --workdir DIR           in the container; created where it is missing (/)
 *   --bind SOURCE TARGET    show the host's SOURCE at the container's TARGET; in the order given
 *   --bind-ro SOURCE TARGET the same, read-only with everything below
 *   --without CALL          do without openat2, mount_setattr or pivot_root, as on older kernels
 *   --probe                 only try the namespaces: status 0, or the reason
 *
 * Steps: enter a user and a mount namespace; make the root a mount; bind; make it the namespace's root;
 * give up capabilities; become the program.  The launcher is no parent of the program, it is replaced
 * by it: pid, signals, limits, standard files, inherited descriptors and the environment pass as they are.
 *
 * Exit status: 125 for a failure of the launcher, 126 for a program that cannot be executed, 127 for one
 * that is not there; one line on standard error tells why.
 */

#include "userns.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

struct options {
    const char *root;
    const char *workdir;
    uid_t uid;
    gid_t gid;
    struct bind *binds; /* room for as many as there are arguments */
    size_t bind_count;
    struct kernel kernel;
    bool probe;
    char **command;
};

/* ---- the command line: only udocker writes it, so errors are terse ---- */

static void usage_fail(const char *object, const char *cause)
{
    report_line(object, cause, "arguments of udocker-userns");
    exit(EXIT_LAUNCHER);
}

static unsigned number_read(const char *option, const char *text)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    /* 4294967295 means "no change" to setresuid(2) and is no user. */
    if (errno || end == text || *end || text[0] == '-' || number >= UINT_MAX)
        usage_fail(option, "not a user or group number");
    return (unsigned)number;
}

static void call_forbid(struct kernel *kernel, const char *name)
{
    if (strcmp(name, "openat2") == 0)
        kernel->openat2 = false;
    else if (strcmp(name, "mount_setattr") == 0)
        kernel->mount_setattr = false;
    else if (strcmp(name, "pivot_root") == 0)
        kernel->pivot_root = false;
    else
        usage_fail(name, "not a call that can be done without");
}

static void bind_add(struct options *options, const char *source, const char *target, bool read_only)
{
    if (source[0] != '/' || target[0] != '/')
        usage_fail(target, "a bind needs absolute paths");
    options->binds[options->bind_count++] = (struct bind){source, target, read_only};
}

/* Takes one option and returns how many words it used. */
static int option_read(struct options *options, char **words)
{
    const char *name = words[0];
    if (strcmp(name, "--probe") == 0) {
        options->probe = true;
        return 1;
    }
    bool bind = strcmp(name, "--bind") == 0, bind_ro = strcmp(name, "--bind-ro") == 0;
    if (!words[1] || ((bind || bind_ro) && !words[2]))
        usage_fail(name, "unknown option, or its value is missing");
    if (bind || bind_ro) {
        bind_add(options, words[1], words[2], bind_ro);
        return 3;
    }
    if (strcmp(name, "--root") == 0)
        options->root = words[1];
    else if (strcmp(name, "--workdir") == 0)
        options->workdir = words[1];
    else if (strcmp(name, "--uid") == 0)
        options->uid = number_read(name, words[1]);
    else if (strcmp(name, "--gid") == 0)
        options->gid = number_read(name, words[1]);
    else if (strcmp(name, "--without") == 0)
        call_forbid(&options->kernel, words[1]);
    else
        usage_fail(name, "unknown option");
    return 2;
}

static void options_read(struct options *options, char **words)
{
    while (*words && strcmp(*words, "--") != 0)
        words += option_read(options, words);
    options->command = *words ? words + 1 : words;
    if (options->probe)
        return;
    if (!options->root || options->root[0] != '/')
        usage_fail("--root", "an absolute path is needed");
    if (!options->command[0])
        usage_fail("--", "no program is given");
}

/* ---- the program ---- */

/* Whether execve(2)'s error may mean that the program lies in a later directory of PATH. */
static bool search_goes_on(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ENAMETOOLONG || error == ELOOP;
}

/* Tries `name` in every directory of PATH; returns only with -errno.  A file that is there but may not be
 * executed is remembered, for it tells more than that no later one exists. */
static int program_search(char **command)
{
    const char *path = getenv("PATH");
    char file[PATH_MAX];
    int worst = ENOENT;
    while (path) {
        size_t length = strcspn(path, ":");
        int size = snprintf(file, sizeof file, "%.*s/%s", (int)length, length ? path : ".", command[0]);
        if (length == 0)
            size = snprintf(file, sizeof file, "./%s", command[0]);
        if (size > 0 && (size_t)size < sizeof file) {
            execve(file, command, environ);
            if (!search_goes_on(errno))
                return -errno;
            if (errno == EACCES)
                worst = EACCES;
        }
        path = path[length] ? path + length + 1 : NULL;
    }
    return -worst;
}

/* Says why the program did not start; returns the exit status. */
static int program_refused(const char *program, int error)
{
    bool by_path = strchr(program, '/') != NULL;
    if (error == ENOENT && by_path && access(program, F_OK) == 0)
        report_line(program, "its interpreter or dynamic loader is not in the container",
                    "see the first line of a script, or what ldd says of a program");
    else if (error == ENOENT)
        report_line(program, "not found in the container", by_path ? NULL : "not in any directory of PATH");
    else if (error == ENOEXEC)
        report_line(program, "not a format that this host executes",
                    "a script without #!, or an image for another architecture");
    else if (error == EACCES)
        report_line(program, "not executable",
                    "no x permission, a directory, or a file system mounted noexec");
    else
        report_error(program, error, NULL);
    return error == ENOENT || error == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

static int program_run(char **command)
{
    int error;
    if (command[0][0] && !strchr(command[0], '/')) {
        error = -program_search(command);
    } else {
        execve(command[0], command, environ);
        error = errno;
    }
    return program_refused(command[0], error);
}

int main(int argc, char **argv)
{
    struct options options = {
        .workdir = "/",
        .uid = geteuid(),
        .gid = getegid(),
        .binds = calloc((size_t)argc + 1, sizeof(struct bind)),
        .kernel = {.openat2 = true, .mount_setattr = true, .pivot_root = true},
    };
    if (!options.binds) {
        report_error("memory", ENOMEM, NULL);
        return EXIT_LAUNCHER;
    }
    options_read(&options, argv + 1);
    if (namespace_enter(options.uid, options.gid) < 0)
        return EXIT_LAUNCHER;
    if (options.probe)
        return 0;
    struct tree tree = {.path = options.root, .root = -1, .kernel = options.kernel};
    if (tree_open(&tree) < 0)
        return EXIT_LAUNCHER;
    for (size_t i = 0; i < options.bind_count; i++)
        if (tree_bind(&tree, &options.binds[i]) < 0)
            return EXIT_LAUNCHER;
    if (tree_enter(&tree, options.workdir) < 0 || namespace_drop_capabilities() < 0)
        return EXIT_LAUNCHER;
    return program_run(options.command);
}
