/* What system calls cost a container's program.
 *
 *   engine_calls table DIRECTORY             a line for each call: its name, and nanoseconds, the best of seven
 *   engine_calls together N SECONDS DIRECTORY  thousands of calls a second of N processes at once
 *
 * DIRECTORY is one of the container's, of some depth, that may be written.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REPEATS = 7, NAME = 4096 };

static char file_name[NAME], link_name[NAME], missing_name[NAME];
static char *self;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void must(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static void call_stat(void)
{
    struct stat information;
    must(stat(file_name, &information) == 0, "stat");
}

static void call_stat_missing(void)
{
    struct stat information;
    must(stat(missing_name, &information) < 0, "stat of what is not there");
}

static void call_open(void)
{
    int file = open(file_name, O_RDONLY | O_CLOEXEC);
    must(file >= 0, "open");
    close(file);
}

static void call_readlink(void)
{
    char text[NAME];
    must(readlink(link_name, text, sizeof text) > 0, "readlink");
}

static void call_stat_link(void)
{
    struct stat information;
    must(stat(link_name, &information) == 0, "stat of a link");
}

static void call_access(void)
{
    must(access(file_name, R_OK) == 0, "access");
}

static void call_getpid(void)
{
    must(getppid() > 0, "getppid");
}

static void child_wait(pid_t child)
{
    int status;
    must(child > 0 && waitpid(child, &status, 0) == child && status == 0, "child");
}

static void call_execve(void)
{
    pid_t child = vfork();
    if (child == 0) {
        execl(self, self, "nothing", (char *)NULL);
        _exit(1);
    }
    child_wait(child);
}

static void call_fork(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    child_wait(child);
}

static const struct {
    const char *name;
    void (*function)(void);
    int count;
} CALLS[] = {
    {"stat", call_stat, 20000},
    {"stat, missing", call_stat_missing, 20000},
    {"stat, link", call_stat_link, 20000},
    {"open+close", call_open, 10000},
    {"readlink", call_readlink, 20000},
    {"access", call_access, 20000},
    {"getppid", call_getpid, 100000},
    {"vfork+execve", call_execve, 100},
    {"fork", call_fork, 100},
};

static double measure(void (*function)(void), int count)
{
    double best = 1e30;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double begin = now();
        for (int i = 0; i < count; i++)
            function();
        double taken = (now() - begin) / count;
        best = taken < best ? taken : best;
    }
    return best;
}

static void table(void)
{
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
        printf("%s\t%.0f\n", CALLS[i].name, measure(CALLS[i].function, CALLS[i].count));
}

/* One of the processes: stat and open+close until the time is over; how many calls that were. */
static long work(double end)
{
    long count = 0;
    while (now() < end) {
        for (int i = 0; i < 100; i++) {
            call_stat();
            call_open();
        }
        count += 200;
    }
    return count;
}

static void together(int processes, double seconds)
{
    long *counts = mmap(NULL, sizeof *counts * (size_t)processes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(counts != MAP_FAILED, "mmap");
    double begin = now(), end = begin + seconds * 1e9;
    for (int i = 0; i < processes; i++) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) {
            counts[i] = work(end);
            _exit(0);
        }
    }
    long sum = 0;
    while (wait(NULL) > 0)
        ;
    for (int i = 0; i < processes; i++)
        sum += counts[i];
    printf("%.1f\n", (double)sum * 1e6 / (now() - begin));
}

static void names_make(const char *directory)
{
    snprintf(file_name, sizeof file_name, "%s/file", directory);
    snprintf(link_name, sizeof link_name, "%s/link", directory);
    snprintf(missing_name, sizeof missing_name, "%s/missing", directory);
    int file = open(file_name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    must(file >= 0, file_name);
    close(file);
    unlink(link_name);
    must(symlink("file", link_name) == 0, link_name);
}

int main(int count, char **words)
{
    self = words[0];
    if (count == 3 && strcmp(words[1], "table") == 0) {
        names_make(words[2]);
        table();
    } else if (count == 5 && strcmp(words[1], "together") == 0) {
        names_make(words[4]);
        together(atoi(words[2]), atof(words[3]));
    }
    return 0;
}
