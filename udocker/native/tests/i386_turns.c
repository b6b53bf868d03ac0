/* Run as "PROGRAM TURNS WORD WORD": says of how many bytes its pointers are, and starts /bin/wide or /bin/narrow for the
 * next turn. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int left = argc == 4 ? atoi(argv[1]) : 0;
    char next[16];
    snprintf(next, sizeof next, "%d", left - 1);
    char *arguments[] = {argv[0], next, argv[2], argv[3], NULL}, *environment[] = {"SEEN=yes", NULL};
    printf("%d %s %s\n", (int)sizeof(void *), getenv("SEEN") ? "seen" : "first", arguments[3]);
    fflush(stdout);
    if (left > 0)
        execve(left % 2 ? "/bin/wide" : "/bin/narrow", arguments, environment);
    return 42 + left;
}
