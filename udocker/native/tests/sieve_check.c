/* What a filter says of every number, by the rules that it was written from: trap/sieve.c, run by tracer/judge.c.
 * Status 0, or a line that tells which number of which set of rules was judged wrongly.
 */

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>

#include "../trap/sieve.h"
#include "../trap/trap.h"
#include "../tracer/tracer.h"

enum { SETS = 400, MOST = 120 /* rules, for which there is room whatever they are */, MARK = 77, NUMBERS = 1200, OUTSIDE = 4096, ALL_ONES = 0x7fffffff };

struct engine engine;
static struct program program;
static struct rules rules;

const struct sock_filter *filter_kept(unsigned number)
{
    return number == 0 ? program.lines : NULL;
}

/* The verdict without a search. */
static uint32_t expected(const struct seccomp_data *call)
{
    uintptr_t place = (uintptr_t)call->instruction_pointer;
    bool ours = place >= (uintptr_t)trap_text_start && place <= (uintptr_t)trap_text_end;
    uint32_t trapped = ours ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP | MARK;
    for (unsigned i = 0; i < rules.count; i++) {
        const struct rule *rule = &rules.list[i];
        uint64_t argument = call->args[rule->argument];
        uint32_t low = (uint32_t)argument;
        if (rule->number != (uint32_t)call->nr)
            continue;
        switch (rule->act) {
        case ACT_TRAP:
            return trapped;
        case ACT_POINTER:
            return argument ? trapped : SECCOMP_RET_ALLOW;
        case ACT_EITHER:
            return low == rule->values[0] || low == rule->values[1] ? trapped : SECCOMP_RET_ALLOW;
        case ACT_REFUSE:
            return SECCOMP_RET_ERRNO | rule->error;
        case ACT_FLAG:
            return low & rule->values[0] ? SECCOMP_RET_ERRNO | rule->error : SECCOMP_RET_ALLOW;
        default:
            return SECCOMP_RET_ALLOW;
        }
    }
    return SECCOMP_RET_ALLOW;
}

static void judge_one(unsigned set, uint32_t number, uint64_t argument, uintptr_t place)
{
    struct seccomp_data call = {.nr = (int)number, .instruction_pointer = place};
    for (int i = 0; i < 6; i++)
        call.args[i] = argument;
    uint32_t said = judge(&call), right = expected(&call);
    if (said == right)
        return;
    printf("set %u: number %u, argument %llx: %x, not %x\n", set, number, (unsigned long long)argument, said, right);
    exit(1);
}

/* Dense or far apart, of one act or of all. */
static void rules_make(unsigned set)
{
    unsigned apart = 1 + set % 7, count = set < 3 ? set : (unsigned)rand() % MOST;
    rules.count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct rule rule = {.number = (uint32_t)rand() % (count * apart), .argument = (uint8_t)(rand() % 6)};
        rule.act = set % 2 ? ACT_TRAP : (uint8_t)(ACT_TRAP + rand() % ACT_FLAG);
        rule.error = (uint16_t)(1 + rand() % 99);
        rule.values[0] = 1u << (rand() % 32);
        rule.values[1] = (uint32_t)rand();
        rules_add(&rules, rule);
    }
}

int main(void)
{
    for (unsigned set = 0; set < SETS; set++) {
        rules_make(set);
        program.count = 0;
        program_load(&program, offsetof(struct seccomp_data, nr));
        sieve_write(&program, &rules, MARK);
        for (uint32_t number = 0; number < NUMBERS; number++) {
            const struct rule *rule = rules.count ? &rules.list[number % rules.count] : NULL;
            const uint64_t arguments[] = {0, 1ull << 40, ALL_ONES, rule ? rule->values[0] : 1, rule ? rule->values[1] : 2};
            for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
                judge_one(set, number, arguments[i], i % 2 ? (uintptr_t)trap_text_start : OUTSIDE);
            judge_one(set, number, ~0ull, (uintptr_t)trap_text_end + 1);
        }
        judge_one(set, UINT32_MAX, 1, OUTSIDE);
    }
    return 0;
}
