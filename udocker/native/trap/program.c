/* Starting the container's program: found as execvp(3) would, in the container. */

#include <errno.h>
#include <fcntl.h>

#include "../refusals.h"
#include "begin.h"

static bool search_goes_on(long error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -ENAMETOOLONG || error == -ELOOP;
}

/* Starts a program; -ELIBACC where it is there, and what is to run it is not. */
long program_start(const char *file, char **command, char *const *environment)
{
    struct path_place place;
    long error = exec_program(AT_FDCWD, file, command, environment, 0);
    bool there = error == -ENOENT && *file && path_resolve(&engine.world, AT_FDCWD, file, PATH_FOLLOW, &place) == 0 &&
                 sys_call3(SYS_faccessat, AT_FDCWD, place.host, 0) == 0;
    return there ? -ELIBACC : error;
}

/* Tries a name in every directory of `path`, which is NULL for none.  A file that may not be executed is remembered, for
 * it tells more than that no later one exists. */
long program_search(char **command, char *const *environment, const char *path)
{
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
            long error = program_start(file, command, environment);
            if (error != -ELIBACC && !search_goes_on(error))
                return error;
            worst = error == -EACCES || error == -ELIBACC ? error : worst;
        }
        path = path[length] ? path + length + 1 : NULL;
    }
    return worst;
}

/* Says why the program did not start; returns the exit status. */
int program_refused(const char *program, bool by_path, long error)
{
    if (error == -ELIBACC)
        report_line(program, "its interpreter or dynamic loader is not in the container",
                    "see the first line of a script, or what ldd says of a program");
    else if (error == -ENOENT)
        report_line(program, "not found in the container",
                    by_path ? "is the path right, and the program in the image?" : "not in any directory of PATH");
    else if (error == -ENOEXEC)
        report_line(program, "not a format that this execution mode runs",
                    "a script without #!, or an image for another architecture");
    else if (error == -EACCES)
        report_line(program, "not executable", "no x permission, a directory, or a file system mounted noexec");
    else
        report_error_hint(program, (int)-error, refusal_hint((int)-error));
    return error == -ENOENT || error == -ENOTDIR || error == -ELIBACC ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}
