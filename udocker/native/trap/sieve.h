/* The text of a seccomp filter that judges calls by their numbers: filter.c says which, sieve.c writes it. */
#ifndef TRAP_SIEVE_H
#define TRAP_SIEVE_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* The text whose calls are let through: trap.ld. */
extern const char trap_text_start[], trap_text_end[];

enum { PROGRAM_MAX = 1024, RULES_MAX = 384 };

struct program {
    struct sock_filter lines[PROGRAM_MAX];
    unsigned count;
};

enum act {
    ACT_ALLOW,
    ACT_TRAP,    /* wherever the call comes from but the engine's text */
    ACT_POINTER, /* the same, where the argument is no null pointer */
    ACT_EITHER,  /* the same, where the argument is one of the two values */
    ACT_REFUSE,  /* fails with `error` */
    ACT_FLAG,    /* the same, where the argument has a bit of the first value */
};

/* What is done with the call of a number. */
struct rule {
    uint32_t number;
    uint8_t act;
    uint8_t argument;
    uint16_t error;
    uint32_t values[2];
};

/* In order of number; any other call is let through. */
struct rules {
    struct rule list[RULES_MAX];
    unsigned count;
};

/* Of two rules for a number the first one counts. */
void rules_add(struct rules *rules, struct rule rule);

void program_add(struct program *program, unsigned short code, uint32_t value, unsigned char yes, unsigned char no);
void program_load(struct program *program, size_t offset); /* of struct seccomp_data */
void program_return(struct program *program, uint32_t value);

/* Judges the number that is loaded; what is trapped gets the mark.  Nothing falls through. */
void sieve_write(struct program *program, const struct rules *rules, uint32_t mark);

#pragma GCC visibility pop

#endif
