/* Inputs for path_fuzz.c where there is no libFuzzer: "path_random COUNT SEED", the same for the same seed. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next(uint64_t *state)
{
    /* xorshift64 (Marsaglia, 2003) */
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

int main(int argc, char **argv)
{
    static uint8_t data[1000];
    if (argc != 3)
        return 2;
    LLVMFuzzerInitialize(&argc, &argv);
    uint64_t state = strtoull(argv[2], NULL, 10) | 1ull << 40;
    for (long count = atol(argv[1]); count > 0; count--) {
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)next(&state);
        LLVMFuzzerTestOneInput(data, sizeof data);
    }
    printf("done\n");
    return 0;
}
