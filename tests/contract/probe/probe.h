/* The program that tries, inside a container, what programs do with their system. */

#ifndef PROBE_H
#define PROBE_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* Ends the program with the condition that does not hold. */
#define EXPECT(condition)                                                             \
    do {                                                                              \
        if (!(condition)) {                                                           \
            printf("%s:%d: %s (errno %d)\n", __func__, __LINE__, #condition, errno); \
            fflush(stdout);                                                           \
            _exit(1);                                                                 \
        }                                                                             \
    } while (0)

extern char **environ;

extern char self[PATH_MAX]; /* this program, as the container calls it */
extern char place[64];      /* a new directory, also the working directory */

/* Waits for a child; whether it ended with status 0. */
bool ended_well(pid_t child);

void file_make(const char *name, const char *text);
bool file_is(const char *name, const char *text);

/* What a check starts this program for, by its first argument; its status. */
int child_main(int argc, char **argv);

void files_are_made_and_changed(void);
void calls_relative_to_directories(void);
void trees_are_walked(void);
void the_working_directory_is_the_containers(void);
void long_paths_and_names(void);
void changes_of_files_are_watched(void);
void locks_and_maps_of_files(void);
void programs_start_in_every_way(void);
void what_cannot_start_leaves_all_as_it_was(void);
void scripts_start_by_their_interpreters(void);
void the_process_is_this_program(void);
void descriptors_close_at_exec(void);
void signals_reach_their_handlers(void);
void calls_are_interrupted_or_go_on(void);
void masks_and_handlers_over_exec(void);
void threads_work_side_by_side(void);
void forks_by_the_hundred_at_once(void);
void every_thread_changes_its_user(void);
void sockets_have_the_containers_names(void);
void datagrams_go_to_names(void);
void descriptors_pass_through_sockets(void);
void the_user_is_who_owns_its_files(void);
void limits_hold(void);

#endif
