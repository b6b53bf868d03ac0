/* A directory of one's own, exchanged for a link to the outside by a second thread while calls go through it. */

#include "escape.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HERE WORK "/here"
#define DOOR WORK "/door"

static volatile bool over;

static void *swap(void *unused)
{
    while (!over)
        renameat2(AT_FDCWD, HERE, AT_FDCWD, DOOR, RENAME_EXCHANGE);
    return unused;
}

static void read_once(void)
{
    char text[64] = "";
    int file = open(HERE "/secret", O_RDONLY);
    if (file < 0)
        return;
    if (read(file, text, sizeof text - 1) > 0 && strcmp(text, "harmless") != 0)
        printf("%s\n", text);
    close(file);
}

static void write_once(void)
{
    int file = open(HERE "/secret", O_WRONLY);
    if (file >= 0 && write(file, "harmless", 8) == 8)
        close(file);
}

static void create_once(void)
{
    int file = open(HERE "/made", O_CREAT | O_WRONLY, 0644);
    if (file >= 0)
        close(file);
    unlink(HERE "/never"); /* another path of the engine in between */
}

static void list_once(void)
{
    int file = open(HERE, O_RDONLY | O_DIRECTORY);
    char text[64] = "";
    int inner = file < 0 ? -1 : openat(file, "secret", O_RDONLY);
    if (inner >= 0 && read(inner, text, sizeof text - 1) > 0 && strcmp(text, "harmless") != 0)
        printf("%s\n", text);
    close(inner);
    close(file);
}

static void stat_once(void)
{
    struct stat info;
    if (stat(HERE "/secret", &info) == 0 && info.st_size != 8)
        printf("reached by stat\n");
}

static void chmod_once(void)
{
    chmod(HERE "/secret", 0640);
}

static void mkdir_once(void)
{
    mkdir(HERE "/made", 0755);
    rmdir(HERE "/nothing");
}

static void unlink_once(void)
{
    unlink(HERE "/spare");
    own_file(HERE "/spare");
}

static void rename_once(void)
{
    rename(own_file(WORK "/mine"), HERE "/brought");
}

static void link_once(void)
{
    char text[64] = "";
    if (link(HERE "/secret", WORK "/hard") < 0)
        return;
    int file = open(WORK "/hard", O_RDONLY);
    if (file >= 0 && read(file, text, sizeof text - 1) > 0 && strcmp(text, "harmless") != 0)
        printf("%s\n", text);
    close(file);
    unlink(WORK "/hard");
}

static void exec_once(void)
{
    char *arguments[] = {"program", NULL};
    if (vfork() == 0) {
        execv(HERE "/program", arguments);
        _exit(1);
    }
    wait(NULL);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void prepare(const struct scene *scene)
{
    mkdir(HERE, 0755);
    int file = open(HERE "/secret", O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (write(file, "harmless", 8) != 8)
        exit(2);
    close(file);
    own_file(HERE "/spare");
    remove_tree(DOOR);
    if (symlink(scene->outside, DOOR) < 0)
        exit(2);
}

/* MORE tells for how many milliseconds. */
static void contest(const struct scene *scene, void (*once)(void))
{
    pthread_t thread;
    long times = 0;
    prepare(scene);
    double end = now() + atof(scene->more) / 1e3;
    if (pthread_create(&thread, NULL, swap, NULL) != 0)
        exit(2);
    for (; now() < end; times++)
        once();
    over = true;
    pthread_join(thread, NULL);
    printf("%ld calls\n", times);
}

#define RACE(name)                               \
    static void race_##name(const struct scene *scene) \
    {                                            \
        contest(scene, name##_once);             \
    }
RACE(read)
RACE(write)
RACE(create)
RACE(list)
RACE(stat)
RACE(chmod)
RACE(mkdir)
RACE(unlink)
RACE(rename)
RACE(link)
RACE(exec)

const struct trick races[] = {
    {"open", race_read},
    {"open-to-write", race_write},
    {"open-new", race_create},
    {"getdents", race_list},
    {"stat", race_stat},
    {"chmod", race_chmod},
    {"mkdir", race_mkdir},
    {"unlink", race_unlink},
    {"rename", race_rename},
    {"link", race_link},
    {"execve", race_exec},
    {NULL, NULL},
};
