/* Which processor the tracer, and what it lets go on, are on.
 *
 * The kernel wakes a thread on an idle processor where there is one.  A stop is two such wakes, of the tracer and of the
 * thread; each takes many times what is done meanwhile, and the processor that the thread had is idle.  So while stops follow from
 * each other (a shell and the programs that it waits for), the tracer binds itself to the processor that the thread was on, and
 * each thread that follows to the same one for as long as it takes to wake it there.  The thread does not see that: it runs once the tracer
 * sleeps again, and has all its processors by then; so whatever runs beside it does so on others.
 *
 * A call about how a thread is scheduled stops.  One that a thread makes of its own lets it go on untouched, and a thread that
 * another one asks of, or sets, is not touched any more.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../trap/begin.h"
#include "tracer.h"

enum {
    WORDS = 128,   /* of a set of processors: NR_CPUS is 8,192 at most */
    FOLLOWED = 16, /* so many stops, each from the one before, are no chance */
    TICK = 10000,  /* microseconds: so often the kernel chooses anew where the tracer is woken */
    OTHER = 0,     /* policies of sched(7) */
    BATCH = 3,
    IDLE = 5,
    RESET_ON_FORK = 0x40000000,
};

struct processors {
    long size; /* in bytes, as the kernel has them; or -errno */
    unsigned long words[WORDS];
};

/* How a thread was scheduled, of what was changed. */
struct before {
    struct processors processors;
    long policy;
    bool bound, patient;
};

/* What is known of a thread. */
enum {
    SEEN_BY_OTHERS = 1,
    SET_BY_ITSELF = 2,
    KNOWN = 4, /* it has been let go once */
    IN_CALL = 8,
};
enum { EARLY_MOST = 16 };

static struct {
    uint8_t *threads;
    struct processors own, here; /* the tracer's, and the one that it is bound to */
    bool bound, rests;
    bool ticks;
    long last, asking;   /* the thread that stopped last (0: it ended); the one that asks for its own processors */
    long parent, born;   /* the one that started another last, and that */
    unsigned followed;
    int outside; /* threads that are not in a call */
    unsigned long stops, stops_at_tick;
    long early[EARLY_MOST]; /* threads that stopped before the one that started them; 0 for none */
} place;

static long processors_get(long thread, struct processors *processors)
{
    processors->size = sys_call3(SYS_sched_getaffinity, thread, sizeof processors->words, processors->words);
    return processors->size;
}

static bool processors_set(long thread, const struct processors *processors)
{
    return sys_call3(SYS_sched_setaffinity, thread, processors->size, processors->words) == 0;
}

static bool is_same(const struct processors *one, const struct processors *other)
{
    return one->size == other->size && one->size > 0 &&
           bytes_equal((const char *)one->words, (const char *)other->words, (size_t)one->size);
}

static bool has(const struct processors *processors, unsigned number)
{
    return number / 8 < (unsigned long)processors->size && processors->words[number / 64] >> number % 64 & 1;
}

/* ---- what is known of threads ---- */

static bool is_outside(uint8_t known)
{
    return (known & (KNOWN | IN_CALL)) == KNOWN;
}

static void threads_set(long thread, unsigned set, unsigned clear)
{
    uint8_t before = place.threads[thread], after = (uint8_t)((before | set) & ~clear);
    place.threads[thread] = after;
    place.outside += is_outside(after) - is_outside(before);
}

void place_set_in_call(long thread, bool is_in_call)
{
    threads_set(thread, is_in_call ? IN_CALL : 0, is_in_call ? 0 : IN_CALL);
}

bool place_is_in_call(long thread)
{
    return place.threads[thread] & IN_CALL;
}

/* ---- the tracer itself ---- */

__attribute__((visibility("hidden"))) void place_tick(void);
__attribute__((visibility("hidden"))) void place_tick_end(void);
__attribute__((visibility("hidden"))) volatile char place_ticked;
__asm__(".text\n"
        ".globl place_tick, place_tick_end\n"
        ".hidden place_tick, place_tick_end\n"
        "place_tick:\n"
        "    movb $1, place_ticked(%rip)\n"
        "    ret\n"
        "place_tick_end:\n"
        "    mov $15, %eax\n" /* rt_sigreturn */
        "    syscall\n");

int place_prepare(long program)
{
    struct disposition tick = {(void *)place_tick, 0x04000000 /* SA_RESTORER */, (void *)place_tick_end, 0};
    uint64_t all_but_it = ~(1ull << (SIGALRM - 1));
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    long threads = sys_call6(SYS_mmap, 0, TRACER_THREADS, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (threads < 0 && threads > -4096)
        return (int)threads;
    place.threads = (uint8_t *)threads;
    place.followed = FOLLOWED; /* there is one thread */
    threads_set(program, KNOWN, 0);
    sys_call4(SYS_rt_sigaction, SIGALRM, &tick, NULL, sizeof tick.mask);
    return (int)sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, &all_but_it, NULL, sizeof all_but_it);
}

static void tick_every(long microseconds)
{
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    place.ticks = microseconds && sys_call3(SYS_setitimer, ITIMER_REAL, &timer, NULL) == 0;
    if (!microseconds)
        sys_call3(SYS_setitimer, ITIMER_REAL, &timer, NULL);
}

static void unbind(void)
{
    if (place.bound)
        processors_set(0, &place.own);
    place.bound = false;
}

/* proc(5), stat: the 39th field; the second one is in parentheses, and may hold any byte. */
static unsigned last_processor(long thread)
{
    enum { FIELD = 39, BEHIND_NAME = 2 };
    struct line path = {.at = 0};
    char text[1024], *at = text;
    line_put(&path, "/proc/");
    line_put_number(&path, (unsigned)thread, 10);
    line_put(&path, "/stat");
    long file = sys_call4(SYS_openat, AT_FDCWD, path.text, O_RDONLY | O_CLOEXEC, 0);
    long size = sys_call3(SYS_read, file, text, sizeof text - 1);
    sys_call1(SYS_close, file);
    text[size < 0 ? 0 : size] = '\0';
    for (char *c = text; *c; c++)
        at = *c == ')' ? c : at;
    for (int field = BEHIND_NAME; *at && field < FIELD; at++)
        field += *at == ' ';
    unsigned number = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (unsigned)(*at - '0');
    return number;
}

/* Where the thread was, for nobody else is there now; or, where it is kept from that by now, to the first that it has. */
static void bind(long thread, const struct processors *processors)
{
    unsigned number = last_processor(thread);
    unbind();
    if (!has(processors, number))
        for (number = 0; !has(processors, number); number++)
            ;
    place.here = (struct processors){.size = processors->size};
    place.here.words[number / 64] = 1ul << number % 64;
    place.bound = processors_get(0, &place.own) > 0 && processors_set(0, &place.here);
    if (place.bound && !place.ticks)
        tick_every(TICK);
}

/* Somebody else may want the processor, and not be able to go elsewhere. */
static void tick(void)
{
    place_ticked = 0;
    unbind();
    if (place.stops == place.stops_at_tick)
        tick_every(0);
    place.stops_at_tick = place.stops;
}

/* ---- what it hears ---- */

/* A program that starts another one goes on for a moment beside it, until it waits. */
static bool is_of_pair(long thread)
{
    return thread == place.born || (thread == place.parent && place.last == place.born);
}

/* Only where every call stops: that is known then.  One that computes would keep the tracer from its processor. */
static bool others_run(long thread)
{
    long partner = thread == place.born ? place.parent : thread == place.parent ? place.born : 0;
    int expected = is_outside(place.threads[thread]) + (partner && is_outside(place.threads[partner]));
    return engine.tracing == TRACE_ALL && place.outside > expected;
}

void place_heard(long thread, int status)
{
    bool follows = thread == place.last || place.last == 0 || is_of_pair(thread);
    place.stops++;
    place.last = WIFSTOPPED(status) ? thread : 0;
    if (!WIFSTOPPED(status))
        threads_set(thread, 0, 0xff);
    follows = follows && !others_run(thread);
    place.followed = !follows ? 0 : place.followed < FOLLOWED ? place.followed + 1 : FOLLOWED;
    place.rests = place_ticked || place.followed < FOLLOWED;
    if (place_ticked)
        tick();
    if (place.rests)
        unbind();
}

void place_woken(void)
{
    if (place_ticked)
        tick();
}

void place_asked(long thread, long other, bool sets)
{
    if (other == 0 || other == thread) {
        place.asking = thread;
        if (sets)
            threads_set(thread, SET_BY_ITSELF, 0);
    } else if (other > 0 && other < TRACER_THREADS)
        threads_set(other, SEEN_BY_OTHERS, 0);
}

/* ---- a thread goes on ---- */

static long policy_of(long thread)
{
    return sys_call1(SYS_sched_getscheduler, thread);
}

static bool policy_set(long thread, long policy)
{
    int priority = 0; /* struct sched_param */
    return sys_call3(SYS_sched_setscheduler, thread, policy, &priority) == 0;
}

/* A thread that is woken often runs at once in place of what woke it; one of SCHED_BATCH waits.  False for those that would not
 * wait all the same. */
static bool make_patient(long thread, struct before *before)
{
    before->policy = policy_of(thread);
    if (before->policy < 0)
        return false;
    long kind = before->policy & ~RESET_ON_FORK;
    before->patient = kind == OTHER && policy_set(thread, BATCH | (before->policy & RESET_ON_FORK));
    return before->patient || kind == BATCH || kind == IDLE;
}

static bool overlaps(const struct processors *one, const struct processors *other)
{
    unsigned long common = 0;
    for (long i = 0; i < one->size / (long)sizeof *one->words; i++)
        common |= one->words[i] & other->words[i];
    return common;
}

static void bring_here(long thread, struct before *before)
{
    if (processors_get(thread, &before->processors) <= 0)
        return;
    if (!place.bound || !overlaps(&before->processors, &place.here))
        bind(thread, &before->processors);
    if (place.bound && !is_same(&before->processors, &place.here) && make_patient(thread, before))
        before->bound = processors_set(thread, &place.here);
}

/* The policy first: once it has its processors back, an idle one takes it. */
static void let_free(long thread, const struct before *before)
{
    if (before->patient)
        policy_set(thread, before->policy);
    if (before->bound)
        processors_set(thread, &before->processors);
}

long place_resume(long request, long thread, long signal)
{
    struct before before;
    before.bound = before.patient = false;
    if (!place.rests && place.asking != thread && !(place.threads[thread] & SEEN_BY_OTHERS))
        bring_here(thread, &before);
    threads_set(thread, KNOWN, 0);
    place.asking = 0;
    long result = sys_call4(SYS_ptrace, request, thread, 0, signal);
    let_free(thread, &before);
    return result;
}

/* ---- a new thread ----
 *
 * One that runs all the same before it is let free, an interrupt may see to that, hands on how it is scheduled.  So a new
 * thread waits until it has been compared with the one that started it, which is stopped then: clone(2) tells of it. */

bool place_is_early(long thread)
{
    for (int i = 0; !(place.threads[thread] & KNOWN) && i < EARLY_MOST; i++)
        if (!place.early[i]) {
            place.early[i] = thread;
            return true;
        }
    return false;
}

long place_next_early(void)
{
    for (int i = 0; i < EARLY_MOST; i++)
        if (place.early[i]) {
            long thread = place.early[i];
            place.early[i] = 0;
            return thread;
        }
    return 0;
}

static bool is_early(long thread)
{
    for (int i = 0; i < EARLY_MOST; i++)
        if (place.early[i] == thread) {
            place.early[i] = 0;
            return true;
        }
    return false;
}

static void compare(long parent, long thread)
{
    struct processors of_parent, of_thread;
    if (processors_get(parent, &of_parent) > 0 && processors_get(thread, &of_thread) > 0 &&
        !is_same(&of_parent, &of_thread))
        processors_set(thread, &of_parent);
    if ((policy_of(thread) & ~RESET_ON_FORK) == BATCH && policy_of(parent) == OTHER)
        policy_set(thread, OTHER);
}

bool place_born(long parent, long thread, bool is_process)
{
    /* A thread of the same process goes on beside it. */
    place.parent = is_process ? parent : 0;
    place.born = is_process ? thread : 0;
    if (!place.threads[thread])
        compare(parent, thread);
    threads_set(thread, KNOWN, 0);
    return is_early(thread);
}
