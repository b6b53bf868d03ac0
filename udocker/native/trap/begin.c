/* udocker-trap: runs a program in a container's root, without privileges and without namespaces.
 *
 *   udocker-trap --root DIR [OPTION...] -- PROGRAM [ARGUMENT...]
 *   udocker-trap --probe
 *
 *   --root DIR              the container's root directory on the host
 *   --workdir DIR           in the container; created where it is missing (/)
 *   --bind SOURCE TARGET    show the host's SOURCE at the container's TARGET; in the order given
 *   --bind-ro SOURCE TARGET the same, read-only with everything below
 *   --without FEATURE       do without openat2, prctl-mm-map or execmem, as where the kernel lacks or refuses it
 *   --patch                 rewrite call sites after their first trap
 *   --probe                 only try whether calls can be trapped: status 0, or the reason
 *
 * Exit status: 125 for a failure of the launcher, 126 for a program that cannot be executed, 127 for one
 * that is not there; one line on standard error tells why.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "trap.h"

struct options {
    const char *workdir;
    char **command;
    bool probe;
};

static bool is_word(const char *one, const char *other)
{
    size_t length = bytes_length(one);
    return length == bytes_length(other) && bytes_equal(one, other, length);
}

/* A host path without links: what getcwd says of the directory, or of a file's. */
static void host_path(const char *text, char path[PATH_SIZE])
{
    char link[40] = "/proc/self/fd/";
    struct path_place place;
    long file = engine_outer_path(text, &place);
    if (file == 0)
        file = sys_call4(SYS_openat, AT_FDCWD, place.host, O_PATH | O_CLOEXEC, 0);
    if (file < 0)
        report_failure(text, file);
    size_t at = 14;
    char digits[12];
    size_t count = 0;
    for (long number = file; count == 0 || number; number /= 10)
        digits[count++] = (char)('0' + number % 10);
    while (count > 0)
        link[at++] = digits[--count];
    link[at] = '\0';
    long length = sys_call4(SYS_readlinkat, AT_FDCWD, link, path, PATH_SIZE - 1);
    sys_call1(SYS_close, file);
    if (length < 0)
        report_failure(text, length);
    path[length] = '\0';
    if (length == 1)
        path[0] = '\0'; /* "/" */
}

static bool is_directory(const char *host)
{
    struct stat info;
    return sys_call2(SYS_stat, *host ? host : "/", &info) == 0 && S_ISDIR(info.st_mode);
}

/* Makes the guest path, as far as it is missing, below the root; the last component a file if so wanted. */
static void target_make(const char *guest, bool directory, char clean[PATH_SIZE])
{
    struct path_place place;
    char part[PATH_SIZE];
    size_t length = bytes_length(guest);
    if (length >= PATH_SIZE)
        report_failure(guest, -ENAMETOOLONG);
    for (size_t end = 1; end <= length; end++) {
        if (end < length && guest[end] != '/')
            continue;
        bytes_copy(part, guest, end);
        part[end] = '\0';
        int result = path_resolve(&engine.world, AT_FDCWD, part, PATH_FOLLOW, &place);
        if (result < 0)
            report_failure(guest, result);
        if (sys_call3(SYS_faccessat, AT_FDCWD, place.host, 0) == 0)
            continue;
        long made = end < length || directory
                        ? sys_call3(SYS_mkdirat, AT_FDCWD, place.host, 0755)
                        : sys_call4(SYS_openat, AT_FDCWD, place.host, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        if (made < 0 && made != -EEXIST)
            report_failure(guest, made);
        if (made > 0)
            sys_call1(SYS_close, made);
    }
    size_t used = place.length;
    while (used > 1 && place.host[used - 1] == '/')
        place.host[--used] = '\0';
    int result = path_to_guest(&engine.world, place.host, clean);
    if (result < 0)
        report_failure(guest, result);
}

static void bind_add(const char *source, const char *target, bool read_only)
{
    char host[PATH_SIZE], clean[PATH_SIZE];
    if (engine.world.count == 0)
        report_and_stop("--bind", "--root comes first", NULL);
    host_path(source, host);
    target_make(target, is_directory(host), clean);
    int result = engine_add_view(clean, host, read_only);
    if (result < 0)
        report_failure(target, result);
}

static void root_set(const char *root)
{
    char host[PATH_SIZE];
    host_path(root, host);
    if (!is_directory(host))
        report_failure(root, -ENOTDIR);
    engine_add_view("", host, false);
}

static char **option_read(struct options *options, char **words)
{
    const char *name = words[0];
    bool bind = is_word(name, "--bind"), bind_ro = is_word(name, "--bind-ro");
    if (is_word(name, "--probe")) {
        options->probe = true;
        return words + 1;
    }
    if (is_word(name, "--patch")) {
        engine.patch = true;
        return words + 1;
    }
    if (!words[1] || ((bind || bind_ro) && !words[2]))
        report_and_stop(name, "unknown option, or its value is missing", "arguments of udocker-trap");
    if (bind || bind_ro) {
        bind_add(words[1], words[2], bind_ro);
        return words + 3;
    }
    if (is_word(name, "--root"))
        root_set(words[1]);
    else if (is_word(name, "--workdir"))
        options->workdir = words[1];
    else if (is_word(name, "--without") && is_word(words[1], "openat2"))
        engine.openat2 = false;
    else if (is_word(name, "--without") && is_word(words[1], "prctl-mm-map"))
        engine.mm_map = false;
    else if (is_word(name, "--without") && is_word(words[1], "execmem"))
        engine.execmem = false;
    else
        report_and_stop(name, "unknown option", "arguments of udocker-trap");
    return words + 2;
}

static void workdir_enter(const char *workdir)
{
    char clean[PATH_SIZE];
    struct path_place place;
    target_make(workdir, true, clean);
    int result = path_resolve(&engine.world, AT_FDCWD, clean, PATH_FOLLOW, &place);
    if (result == 0)
        result = (int)sys_call1(SYS_chdir, place.host);
    if (result < 0)
        report_failure(workdir, result);
}

static const char *variable(char *const *environment, const char *name)
{
    size_t length = bytes_length(name);
    for (; *environment; environment++)
        if (bytes_equal(*environment, name, length) && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static bool search_goes_on(long error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -ENAMETOOLONG || error == -ELOOP;
}

/* Tries `name` in every directory of PATH.  A file that may not be executed is remembered, for it tells more
 * than that no later one exists. */
static long program_search(char **command, char *const *environment)
{
    const char *path = variable(environment, "PATH");
    long worst = -ENOENT;
    size_t name = bytes_length(command[0]);
    while (path) {
        char file[PATH_SIZE];
        size_t length = 0;
        while (path[length] && path[length] != ':')
            length++;
        if (length + name + 3 <= sizeof file) {
            bytes_copy(file, length ? path : ".", length ? length : 1);
            size_t at = length ? length : 1;
            file[at++] = '/';
            bytes_copy(file + at, command[0], name + 1);
            long error = exec_program(AT_FDCWD, file, command, environment, 0);
            if (!search_goes_on(error))
                return error;
            worst = error == -EACCES ? error : worst;
        }
        path = path[length] ? path + length + 1 : NULL;
    }
    return worst;
}

/* Says why the program did not start; returns the exit status. */
static int program_refused(const char *program, bool by_path, long error)
{
    struct path_place place;
    bool there = by_path && *program && path_resolve(&engine.world, AT_FDCWD, program, PATH_FOLLOW, &place) == 0 &&
                 sys_call3(SYS_faccessat, AT_FDCWD, place.host, 0) == 0;
    if (error == -ENOENT && there)
        report_line(program, "its interpreter or dynamic loader is not in the container",
                    "see the first line of a script, or what ldd says of a program");
    else if (error == -ENOENT)
        report_line(program, "not found in the container", by_path ? NULL : "not in any directory of PATH");
    else if (error == -ENOEXEC)
        report_line(program, "not a format that this execution mode runs",
                    "a script without #!, a 32-bit program, or an image for another architecture");
    else if (error == -EACCES)
        report_line(program, "not executable", "no x permission, a directory, or a file system mounted noexec");
    else
        report_error(program, (int)-error);
    return error == -ENOENT || error == -ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

static bool has_openat2(void)
{
    /* EFAULT or E2BIG from a kernel that has the call; it is asked with nothing. */
    return sys_call4(SYS_openat2, AT_FDCWD, "", NULL, 0) != -ENOSYS;
}

int engine_begin(char **arguments, char **environment)
{
    struct options options = {.workdir = "/"};
    bool by_path = false;
    engine.openat2 = has_openat2();
    engine.mm_map = engine.execmem = true;
    char **words = arguments + 1;
    while (*words && !is_word(*words, "--"))
        words = option_read(&options, words);
    if (options.probe) {
        engine_start(NULL);
        return 0;
    }
    if (engine.world.count == 0 || !*words || !words[1])
        report_and_stop("--root", "a root and a program are needed", "arguments of udocker-trap");
    long length = sys_call4(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", engine.self, PATH_SIZE - 1);
    if (length < 0)
        report_failure("/proc/self/exe", length);
    workdir_enter(options.workdir);
    char **command = words + 1;
    for (const char *c = command[0]; *c; c++)
        by_path = by_path || *c == '/';
    long error = by_path || !command[0][0] ? exec_program(AT_FDCWD, command[0], command, environment, 0)
                                           : program_search(command, environment);
    return program_refused(command[0], by_path, error);
}
