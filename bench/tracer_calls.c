/* tracer_calls CALL COUNT: make one call so often, and print how many nanoseconds each took. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char file_name[] = "/usr/bin/env";

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int call_stat(void)
{
    struct stat information;
    return stat(file_name, &information);
}

static int call_open(void)
{
    int file = open(file_name, O_RDONLY | O_CLOEXEC);
    return close(file);
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    int (*call)(void) = strcmp(words[1], "stat") == 0 ? call_stat : call_open;
    long calls = atol(words[2]);
    double begin = now();
    for (long i = 0; i < calls; i++)
        if (call()) {
            perror(file_name);
            return 1;
        }
    printf("%.0f\n", (now() - begin) / (double)calls);
    return 0;
}
