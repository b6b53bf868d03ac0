/* A filter's text that halves the numbers at each step, instead of comparing them one after the other.
 *
 * The kernel tries every number when it takes a filter, to know which calls it need not ask it of again; and those that
 * are trapped it asks at every call, the engine's own among them.
 */

#include <linux/seccomp.h>

#include "sieve.h"
#include "trap.h"

/* NEAR: so many ranges lie within a comparison's reach of 255 lines. */
enum { NEAR = 32, SEGMENTS_MAX = 2 * RULES_MAX + 1 };
static const uint32_t TO_VERDICT = UINT32_MAX; /* a jump whose length is set when the verdict's place is known */

void rules_add(struct rules *rules, struct rule rule)
{
    struct rule *list = rules->list;
    unsigned place = rules->count;
    while (place > 0 && list[place - 1].number > rule.number)
        place--;
    if (place > 0 && list[place - 1].number == rule.number)
        return;
    if (rules->count == RULES_MAX)
        __builtin_trap(); /* the tables have outgrown it */
    for (unsigned i = rules->count++; i > place; i--)
        list[i] = list[i - 1];
    list[place] = rule;
}

void program_add(struct program *program, unsigned short code, uint32_t value, unsigned char yes, unsigned char no)
{
    if (program->count == PROGRAM_MAX)
        __builtin_trap(); /* the same */
    program->lines[program->count++] = (struct sock_filter){code, yes, no, value};
}

void program_load(struct program *program, size_t offset)
{
    program_add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

void program_return(struct program *program, uint32_t value)
{
    program_add(program, BPF_RET | BPF_K, value, 0, 0);
}

static void to_verdict(struct program *program)
{
    program_add(program, BPF_JMP | BPF_JA, TO_VERDICT, 0, 0);
}

/* A call from our own text is let through, any other is trapped. */
static void verdict_write(struct program *program, uint32_t mark)
{
    uintptr_t start = (uintptr_t)trap_text_start, end = (uintptr_t)trap_text_end;
    size_t pointer = offsetof(struct seccomp_data, instruction_pointer);
    program_load(program, pointer + 4);
    program_add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(start >> 32), 0, 4);
    program_load(program, pointer);
    program_add(program, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)start, 0, 2);
    program_add(program, BPF_JMP | BPF_JGT | BPF_K, (uint32_t)end, 1, 0);
    program_return(program, SECCOMP_RET_ALLOW);
    program_return(program, (engine.tracing ? SECCOMP_RET_TRACE : SECCOMP_RET_TRAP) | mark);
}

/* ---- what is done with the numbers of a range ---- */

static size_t argument_of(const struct rule *rule)
{
    return offsetof(struct seccomp_data, args) + 8 * (size_t)rule->argument;
}

static void write_allow(struct program *program, const struct rule *rule)
{
    (void)rule;
    program_return(program, SECCOMP_RET_ALLOW);
}

static void write_trap(struct program *program, const struct rule *rule)
{
    (void)rule;
    to_verdict(program);
}

static void write_pointer(struct program *program, const struct rule *rule)
{
    program_load(program, argument_of(rule));
    program_add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
    program_load(program, argument_of(rule) + 4);
    program_add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
    program_return(program, SECCOMP_RET_ALLOW);
    to_verdict(program);
}

static void write_either(struct program *program, const struct rule *rule)
{
    program_load(program, argument_of(rule));
    program_add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->values[0], 2, 0);
    program_add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->values[1], 1, 0);
    program_return(program, SECCOMP_RET_ALLOW);
    to_verdict(program);
}

static void write_refuse(struct program *program, const struct rule *rule)
{
    program_return(program, SECCOMP_RET_ERRNO | rule->error);
}

static void write_flag(struct program *program, const struct rule *rule)
{
    program_load(program, argument_of(rule));
    program_add(program, BPF_JMP | BPF_JSET | BPF_K, rule->values[0], 0, 1);
    program_return(program, SECCOMP_RET_ERRNO | rule->error);
    program_return(program, SECCOMP_RET_ALLOW);
}

static void (*const WRITE[])(struct program *program, const struct rule *rule) = {
    [ACT_ALLOW] = write_allow,   [ACT_TRAP] = write_trap,     [ACT_POINTER] = write_pointer,
    [ACT_EITHER] = write_either, [ACT_REFUSE] = write_refuse, [ACT_FLAG] = write_flag,
};

/* ---- which range a number is in ---- */

/* Numbers from `start` up to the next one's. */
struct segment {
    uint32_t start;
    const struct rule *rule;
};

static unsigned segments_make(const struct rules *rules, struct segment segments[SEGMENTS_MAX])
{
    static const struct rule allow = {.act = ACT_ALLOW};
    unsigned count = 0;
    uint32_t next = 0;
    for (unsigned i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->list[i];
        if (rule->number > next)
            segments[count++] = (struct segment){next, &allow};
        if (rule->number > next || count == 0 || rule->act != ACT_TRAP || segments[count - 1].rule->act != ACT_TRAP)
            segments[count++] = (struct segment){rule->number, rule};
        next = rule->number + 1;
    }
    segments[count++] = (struct segment){next, &allow};
    return count;
}

static void tree_write(struct program *program, const struct segment *segments, unsigned count)
{
    if (count == 1) {
        WRITE[segments->rule->act](program, segments->rule);
        return;
    }
    unsigned half = count / 2, at = program->count;
    bool near = half <= NEAR;
    program_add(program, BPF_JMP | BPF_JGE | BPF_K, segments[half].start, 0, near ? 0 : 1);
    if (!near)
        program_add(program, BPF_JMP | BPF_JA, 0, 0, 0);
    tree_write(program, segments, half);
    if (near)
        program->lines[at].jt = (unsigned char)(program->count - at - 1);
    else
        program->lines[at + 1].k = program->count - at - 2;
    tree_write(program, segments + half, count - half);
}

void sieve_write(struct program *program, const struct rules *rules, uint32_t mark)
{
    struct segment segments[SEGMENTS_MAX];
    unsigned first = program->count;
    tree_write(program, segments, segments_make(rules, segments));
    for (unsigned i = first; i < program->count; i++) {
        struct sock_filter *line = &program->lines[i];
        if (line->code == (BPF_JMP | BPF_JA) && line->k == TO_VERDICT)
            line->k = program->count - i - 1;
    }
    verdict_write(program, mark);
}
