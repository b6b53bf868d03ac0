/* Rank 1 reads from rank 0's memory, as MPI's shared memory does (process_vm_readv(2)), through files in /w. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static char words[16];

static void wait_for(const char *path)
{
    for (int i = 0; i < 600 && access(path, F_OK) < 0; i++)
        usleep(100000);
}

static int tell(void)
{
    strcpy(words, "of rank 0");
    FILE *file = fopen("/w/new", "w");
    if (!file || fprintf(file, "%d %p", getpid(), (void *)words) < 0 || fclose(file) || rename("/w/new", "/w/place"))
        return 1;
    wait_for("/w/read");
    return 0;
}

static int ask(void)
{
    int pid;
    void *at;
    wait_for("/w/place");
    FILE *file = fopen("/w/place", "r");
    if (!file || fscanf(file, "%d %p", &pid, &at) != 2)
        return 1;
    struct iovec here = {words, sizeof words - 1}, there = {at, sizeof words - 1};
    if (process_vm_readv(pid, &here, 1, &there, 1, 0) < 0)
        snprintf(words, sizeof words, "error %d", errno);
    puts(words);
    return fclose(fopen("/w/read", "w"));
}

int main(void)
{
    return strcmp(getenv("SLURM_PROCID"), "0") == 0 ? tell() : ask();
}
