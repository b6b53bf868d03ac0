/* udocker-userns: runs a program in a container's root, without privileges.
 *
 *   udocker-userns --root DIR [OPTION...] -- PROGRAM [ARGUMENT...]
 *   udocker-userns --join PID:START [--uid N] [--gid N] [--workdir DIR] -- PROGRAM [ARGUMENT...]
 *   udocker-userns --probe
 *
 *   --root DIR              the container's root directory on the host
 *   --uid N, --gid N        what the caller's user and group are called inside (the caller's own)
 *   --workdir DIR           in the container; created where it is missing (/)
 *   --volume DIR            make sure that this directory is in the container, and writable
 *   --scratch DIR           an empty directory in memory
 *   --bind SOURCE TARGET    show the host's SOURCE at the container's TARGET; in the order given
 *   --bind-ro SOURCE TARGET the same, read-only with everything below
 *   --extend SOURCE TARGET TEXT
 *                           show a copy of the host's SOURCE, or where that is empty of the container's TARGET
 *                           itself, with TEXT after it at TARGET
 *   --read-only             the container's own files cannot be changed
 *   --without CALL          do without openat2, mount_setattr or pivot_root, as on older kernels
 *   --join PID:START        not a new container but that of the process that has begun at START, in clock ticks
 *                           since boot; the working directory is not created.  With --root: where that has
 *                           ended a new container, after all
 *   --detach                the program's standard error is what its standard output is; the launcher's own is the
 *                           caller's still, and closed once the program has started
 *   --probe                 only try the namespaces: status 0, or the reason
 *
 * Steps: enter a user and a mount namespace; make the root a mount; volumes, scratch, binds, extended files;
 * make it the namespace's root; give up capabilities; become the program.  The launcher is no parent of the program, it is replaced
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

#include "../refusals.h"

extern char **environ;

struct options {
    const char *root;
    const char *join; /* instead of a root, or where it can be joined */
    const char *workdir;
    uid_t uid;
    gid_t gid;
    struct bind *binds; /* each list has room for as many as there are arguments */
    size_t bind_count;
    struct extension *extensions;
    size_t extension_count;
    const char **volumes;
    size_t volume_count;
    const char **scratches;
    size_t scratch_count;
    struct kernel kernel;
    bool probe;
    bool read_only;
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

static void extension_add(struct options *options, const char *source, const char *target, const char *text)
{
    if ((*source && source[0] != '/') || target[0] != '/')
        usage_fail(target, "an extended file needs absolute paths");
    options->extensions[options->extension_count++] = (struct extension){source, target, text};
}

/* Takes an option with one value; false where it is none. */
static bool value_read(struct options *options, const char *name, const char *value)
{
    if (strcmp(name, "--root") == 0)
        options->root = value;
    else if (strcmp(name, "--join") == 0)
        options->join = value;
    else if (strcmp(name, "--workdir") == 0)
        options->workdir = value;
    else if (strcmp(name, "--uid") == 0)
        options->uid = number_read(name, value);
    else if (strcmp(name, "--gid") == 0)
        options->gid = number_read(name, value);
    else if (strcmp(name, "--volume") == 0)
        options->volumes[options->volume_count++] = value;
    else if (strcmp(name, "--scratch") == 0)
        options->scratches[options->scratch_count++] = value;
    else if (strcmp(name, "--without") == 0)
        call_forbid(&options->kernel, value);
    else
        return false;
    return true;
}

/* How many words there are, up to `most`. */
static int words_left(char **words, int most)
{
    int count = 0;
    while (count < most && words[count])
        count++;
    return count;
}

/* Takes one option and returns how many words it used. */
static int option_read(struct options *options, char **words)
{
    const char *name = words[0];
    int left = words_left(words, 4);
    bool bind = strcmp(name, "--bind") == 0, bind_ro = strcmp(name, "--bind-ro") == 0;
    if (strcmp(name, "--probe") == 0) {
        options->probe = true;
        return 1;
    }
    if (strcmp(name, "--read-only") == 0) {
        options->read_only = true;
        return 1;
    }
    if (strcmp(name, "--detach") == 0) {
        report_keep();
        return 1;
    }
    if ((bind || bind_ro) && left >= 3) {
        bind_add(options, words[1], words[2], bind_ro);
        return 3;
    }
    if (strcmp(name, "--extend") == 0 && left >= 4) {
        extension_add(options, words[1], words[2], words[3]);
        return 4;
    }
    if (left < 2 || !value_read(options, name, words[1]))
        usage_fail(name, "unknown option, or its value is missing");
    return 2;
}

static void options_read(struct options *options, char **words)
{
    while (*words && strcmp(*words, "--") != 0)
        words += option_read(options, words);
    options->command = *words ? words + 1 : words;
    if (options->probe)
        return;
    if (!options->join && (!options->root || options->root[0] != '/'))
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

/* What execve(2) says of a file: ELIBACC where it is there, and what is to run it is not. */
static int program_error(const char *file)
{
    int error = errno;
    return error == ENOENT && access(file, F_OK) == 0 ? ELIBACC : error;
}

/* Tries `name` in every directory of PATH; returns only with -errno.  A file that is there but cannot be
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
            int error = program_error(file);
            if (error != ELIBACC && !search_goes_on(error))
                return -error;
            if (error == EACCES || error == ELIBACC)
                worst = error;
        }
        path = path[length] ? path + length + 1 : NULL;
    }
    return -worst;
}

/* Says why the program did not start; returns the exit status. */
static int program_refused(const char *program, int error)
{
    bool by_path = strchr(program, '/') != NULL;
    if (error == ELIBACC)
        report_line(program, "its interpreter or dynamic loader is not in the container",
                    "see the first line of a script, or what ldd says of a program");
    else if (error == ENOENT)
        report_line(program, "not found in the container",
                    by_path ? "is the path right, and the program in the image?" : "not in any directory of PATH");
    else if (error == ENOEXEC)
        report_line(program, "not a format that this host executes",
                    "a script without #!, or an image for another architecture");
    else if (error == EACCES)
        report_line(program, "not executable",
                    "no x permission, a directory, or a file system mounted noexec");
    else
        report_error(program, error, refusal_hint(error));
    return error == ENOENT || error == ENOTDIR || error == ELIBACC ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

static int program_run(char **command)
{
    int error;
    if (command[0][0] && !strchr(command[0], '/')) {
        error = -program_search(command);
    } else {
        execve(command[0], command, environ);
        error = program_error(command[0]);
    }
    return program_refused(command[0], error);
}

/* Makes the container's tree and steps into it; reports. */
static int tree_build(const struct options *options)
{
    struct tree tree = {.path = options->root, .root = -1, .read_only = options->read_only, .kernel = options->kernel};
    int result = tree_open(&tree);
    for (size_t i = 0; result >= 0 && i < options->volume_count; i++)
        result = scratch_volume(&tree, options->volumes[i]);
    for (size_t i = 0; result >= 0 && i < options->scratch_count; i++)
        result = scratch_mount(&tree, options->scratches[i]);
    for (size_t i = 0; result >= 0 && i < options->bind_count; i++)
        result = tree_bind(&tree, &options->binds[i]);
    if (result >= 0)
        result = scratch_extend(&tree, options->extensions, options->extension_count);
    return result < 0 ? result : tree_enter(&tree, options->workdir);
}

/* Into the container, a new one or that of a process; reports. */
static int container_enter(const struct options *options)
{
    int result = -ESRCH;
    if (options->join && !options->root)
        report_act("exec");
    if (options->join)
        result = join_enter(options->join, options->uid, options->gid, options->workdir, options->root);
    if (result != -ESRCH || (options->join && !options->root))
        return result;
    result = namespace_enter(options->uid, options->gid);
    return result < 0 || options->probe ? result : tree_build(options);
}

int main(int argc, char **argv)
{
    size_t room = (size_t)argc + 1; /* there cannot be more of anything */
    struct options options = {
        .workdir = "/",
        .uid = geteuid(),
        .gid = getegid(),
        .binds = calloc(room, sizeof(struct bind)),
        .extensions = calloc(room, sizeof(struct extension)),
        .volumes = calloc(room, sizeof(char *)),
        .scratches = calloc(room, sizeof(char *)),
        .kernel = {.openat2 = true, .mount_setattr = true, .pivot_root = true},
    };
    if (!options.binds || !options.extensions || !options.volumes || !options.scratches) {
        report_error("memory", ENOMEM, NULL);
        return EXIT_LAUNCHER;
    }
    options_read(&options, argv + 1);
    if (container_enter(&options) < 0)
        return EXIT_LAUNCHER;
    if (options.probe)
        return 0;
    if (namespace_drop_capabilities() < 0)
        return EXIT_LAUNCHER;
    return program_run(options.command);
}
