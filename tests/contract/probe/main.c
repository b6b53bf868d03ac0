/* "image_probe NAME": status 0, or a line that tells what was wrong.  Built for every C library that the images
 * have, static and dynamic.
 */

#include "probe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

char self[PATH_MAX];
char place[64];

bool ended_well(pid_t child)
{
    int status;
    pid_t ended;
    while ((ended = waitpid(child, &status, 0)) == -1 && errno == EINTR)
        ;
    return ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void file_make(const char *name, const char *text)
{
    int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    EXPECT(file >= 0);
    EXPECT(write(file, text, strlen(text)) == (ssize_t)strlen(text));
    EXPECT(close(file) == 0);
}

bool file_is(const char *name, const char *text)
{
    char found[256] = "";
    int file = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, found, sizeof found - 1);
    if (file >= 0)
        close(file);
    return size == (ssize_t)strlen(text) && strcmp(found, text) == 0;
}

static const struct {
    const char *name;
    void (*check)(void);
} CHECKS[] = {
    {"files", files_are_made_and_changed},
    {"directories", calls_relative_to_directories},
    {"trees", trees_are_walked},
    {"cwd", the_working_directory_is_the_containers},
    {"long", long_paths_and_names},
    {"watch", changes_of_files_are_watched},
    {"locks", locks_and_maps_of_files},
    {"programs", programs_start_in_every_way},
    {"refused", what_cannot_start_leaves_all_as_it_was},
    {"scripts", scripts_start_by_their_interpreters},
    {"process", the_process_is_this_program},
    {"descriptors", descriptors_close_at_exec},
    {"signals", signals_reach_their_handlers},
    {"interrupts", calls_are_interrupted_or_go_on},
    {"masks", masks_and_handlers_over_exec},
    {"threads", threads_work_side_by_side},
    {"forks", forks_by_the_hundred_at_once},
    {"users", every_thread_changes_its_user},
    {"sockets", sockets_have_the_containers_names},
    {"datagrams", datagrams_go_to_names},
    {"passing", descriptors_pass_through_sockets},
    {"identity", the_user_is_who_owns_its_files},
    {"limits", limits_hold},
};

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        if (strcmp(CHECKS[i].name, argv[1]) == 0) {
            char directory[] = "/tmp/probe-XXXXXX";
            EXPECT(realpath("/proc/self/exe", self) && mkdtemp(directory));
            EXPECT(chdir(directory) == 0 && getcwd(place, sizeof place));
            CHECKS[i].check();
            return 0;
        }
    return child_main(argc, argv);
}
