/* What a seccomp filter says of a call, where the kernel takes none: as many instructions as ours are made of. */

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "tracer.h"

static uint32_t word_at(const struct seccomp_data *call, uint32_t offset)
{
    uint32_t word;
    __builtin_memcpy(&word, (const char *)call + offset, sizeof word);
    return word;
}

static bool holds(unsigned short code, uint32_t value, uint32_t other)
{
    switch (BPF_OP(code)) {
    case BPF_JEQ:
        return value == other;
    case BPF_JGT:
        return value > other;
    case BPF_JGE:
        return value >= other;
    default:
        return value & other; /* BPF_JSET */
    }
}

static uint32_t run(const struct sock_filter *line, const struct seccomp_data *call)
{
    uint32_t value = 0;
    for (;; line++) {
        if (BPF_CLASS(line->code) == BPF_RET)
            return line->k;
        if (BPF_CLASS(line->code) == BPF_LD)
            value = word_at(call, line->k);
        else if (BPF_OP(line->code) == BPF_JA)
            line += line->k;
        else
            line += holds(line->code, value, line->k) ? line->jt : line->jf;
    }
}

/* Of several filters the answer that allows least: seccomp(2). */
uint32_t judge(const struct seccomp_data *call)
{
    uint32_t verdict = SECCOMP_RET_ALLOW;
    for (unsigned i = 0; filter_kept(i); i++) {
        uint32_t one = run(filter_kept(i), call);
        verdict = one < verdict ? one : verdict;
    }
    return verdict;
}
