/* udocker-trap on machines that the trap engine is not for: it has their registers and their calls to learn. */

#include <string.h>
#include <unistd.h>

int main(void)
{
    static const char line[] = "udocker: run: trap engine: for x86-64 only (execution mode R1 works on other machines)\n";
    (void)!write(2, line, strlen(line));
    return 125;
}
