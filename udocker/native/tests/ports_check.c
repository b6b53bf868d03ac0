/* What becomes of addresses with published ports, for a test with sanitizers:
 *
 *   ports_check LIST [PROTOCOL USE ADDRESS]...
 *
 * LIST is as ../net/ports.h has it; USE is bind, reach, own or other; ADDRESS the bytes of a socket's address in
 * hexadecimal.  A line tells how LIST was taken, and one for each address the call's result and what it has become.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../net/ports.h"

static struct ports ports;

static void address_tell(int protocol, const char *use, const char *digits)
{
    size_t size = strlen(digits) / 2;
    unsigned char *address = malloc(size ? size : 1); /* of the very size, so that no byte behind it is touched */
    int result = 0;
    for (size_t i = 0; i < size; i++)
        sscanf(digits + 2 * i, "%2hhx", &address[i]);
    if (strcmp(use, "own") == 0 || strcmp(use, "other") == 0)
        ports_to_guest(&ports, protocol, *use == 'o' && use[1] == 'w', address, size);
    else
        result = ports_to_host(&ports, protocol, *use == 'b' ? PORT_BIND : PORT_REACH, address, size);
    printf("%d ", result);
    for (size_t i = 0; i < size; i++)
        printf("%02x", address[i]);
    putchar('\n');
    free(address);
}

int main(int argc, char **argv)
{
    char *list = strdup(argc > 1 ? argv[1] : "");
    int result = ports_read(&ports, list);
    free(list);
    printf("%d %zu\n", result, result < 0 ? 0 : ports.count);
    for (int i = 2; result == 0 && i + 2 < argc; i += 3)
        address_tell(atoi(argv[i]), argv[i + 1], argv[i + 2]);
    return 0;
}
