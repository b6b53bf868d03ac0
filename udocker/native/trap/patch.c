/* Call sites that trapped a few times are rewritten, so that they call the engine instead of trapping again.
 * Rewriting one takes as long as ten traps, or as a stop by a tracer: most programs end before that pays.
 *
 * Compilers put `mov $number, %eax` (five bytes) right before `syscall`.  Only those five bytes become a jump, in
 * one store within a cache line; the `syscall` stays, so that a thread which is between the two, or one that
 * comes to it by another way, traps as before.  The jump leads to a stub near by:
 *
 *     mov $number, %eax;  skip the red zone;  call site_enter;  take it back;  jump behind the syscall
 *
 * Registers are the guest's but for rcx and r11, which a system call destroys too.  Where the kernel does
 * not let text be written (SELinux, execmod), nothing is patched from then on.  Text that the guest itself may write
 * is its own affair: it is made while the program runs, and may be made anew.
 */

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>

#include "trap.h"

enum { PAGE = 4096, POOL_COUNT = 64, SITE = 5, STUB = 48, LINE = 64, TRAPS = 8, STOPS = 2, SLOTS = 256 };

/* A page of stubs, within a jump's reach of the text that it serves. */
struct pool {
    unsigned char *next, *end;
};

static HOT struct pool pools[POOL_COUNT];
static HOT int busy;
/* How often the sites of a slot have trapped. */
static HOT uint8_t traps[SLOTS];

__attribute__((visibility("hidden"))) void site_enter(void);
__asm__(".text\n"
        ".globl site_enter\n"
        ".hidden site_enter\n"
        "site_enter:\n"
        "    cmpb $0, engine_debugged(%rip)\n"
        "    jne site_trap\n"
        "    push %rdi\n"
        "    push %rsi\n"
        "    push %rdx\n"
        "    push %r8\n"
        "    push %r9\n"
        "    push %r10\n"
        "    push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    and $-16, %rsp\n"
        /* struct trapped: number, six arguments, no mask, of no 32-bit program; and a word that aligns the stack */
        "    pushq $0\n"
        "    pushq $0\n"
        "    pushq $0\n"
        "    push %r9\n"
        "    push %r8\n"
        "    push %r10\n"
        "    push %rdx\n"
        "    push %rsi\n"
        "    push %rdi\n"
        "    push %rax\n"
        "    mov %rsp, %rdi\n"
        "    cld\n"
        "    call site_call\n"
        "    mov %rbp, %rsp\n"
        "    pop %rbp\n"
        "    pop %r10\n"
        "    pop %r9\n"
        "    pop %r8\n"
        "    pop %rdx\n"
        "    pop %rsi\n"
        "    pop %rdi\n"
        "    ret\n");

_Static_assert(sizeof(struct trapped) == 9 * sizeof(long), "see above");

/* Where somebody looks on the call is made as it would be if the site were not rewritten: from outside of the text whose
 * calls are let through (trap.ld). */
__asm__(".section .traps, \"ax\", @progbits\n"
        "site_trap:\n"
        "    syscall\n"
        "    ret\n"
        ".text\n");

__attribute__((used)) long site_call(struct trapped *call)
{
    return signal_is_call(call->number) ? signal_call(call) : stacks_run(call);
}

static bool is_near(const unsigned char *one, const unsigned char *other)
{
    long distance = (long)(one - other);
    return distance < 0x7fff0000 && distance > -0x7fff0000;
}

static bool pool_make(struct pool *pool, const unsigned char *site)
{
    uintptr_t page = (uintptr_t)site & ~(uintptr_t)(PAGE - 1);
    if (!engine.execmem)
        return false;
    for (uintptr_t distance = 0x10000; distance < 0x70000000 && distance + 0x10000 < page; distance += 0x80000) {
        uintptr_t wanted = page - distance;
        long place = sys_call6(SYS_mmap, (long)wanted, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS | 0x100000 /* MAP_FIXED_NOREPLACE */, -1, 0);
        if (place == (long)wanted) {
            pool->next = (unsigned char *)place;
            pool->end = pool->next + PAGE;
            return true;
        }
        if (place == -EACCES || place == -EPERM)
            return false;
        if (place < 0 && place > -PAGE)
            continue;
        sys_call2(SYS_munmap, place, PAGE); /* a kernel before 4.17 takes the address for a wish */
    }
    return false;
}

static struct pool *pool_find(const unsigned char *site)
{
    for (int i = 0; i < POOL_COUNT; i++) {
        struct pool *pool = &pools[i];
        if (!pool->next && !pool_make(pool, site))
            return NULL;
        if (is_near(pool->next, site) && pool->end - pool->next >= STUB)
            return pool;
    }
    return NULL;
}

static unsigned char *put_bytes(unsigned char *at, const void *bytes, size_t size)
{
    bytes_copy((char *)at, bytes, size);
    return at + size;
}

/* A jump that will stand at `place`. */
static unsigned char *put_jump(unsigned char *at, const unsigned char *place, const unsigned char *target)
{
    int32_t distance = (int32_t)(target - (place + SITE));
    *at++ = 0xe9;
    return put_bytes(at, &distance, sizeof distance);
}

static void stub_write(struct pool *pool, const unsigned char *site)
{
    static const unsigned char over_red_zone[] = {0x48, 0x8d, 0xa4, 0x24, 0x80, 0xff, 0xff, 0xff};
    static const unsigned char back[] = {0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0};
    static const unsigned char load[] = {0x49, 0xbb}, call[] = {0x41, 0xff, 0xd3}; /* through r11 */
    uintptr_t target = (uintptr_t)site_enter;
    unsigned char *at = put_bytes(pool->next, site, SITE);
    at = put_bytes(at, over_red_zone, sizeof over_red_zone);
    at = put_bytes(at, load, sizeof load);
    at = put_bytes(at, &target, sizeof target);
    at = put_bytes(at, call, sizeof call);
    at = put_bytes(at, back, sizeof back);
    pool->next = put_jump(at, at, site + SITE + 2);
}

/* The eight bytes in one line of the cache that hold the site: they are stored at once, so that no other processor
 * sees a half.  NULL where it lies across two. */
static unsigned char *word_of(unsigned char *site)
{
    size_t at = (uintptr_t)site % LINE;
    if (at > LINE - SITE)
        return NULL;
    return at > LINE - sizeof(uint64_t) ? site - (at - (LINE - sizeof(uint64_t))) : site;
}

static void site_write(unsigned char *site, const unsigned char *stub)
{
    uintptr_t page = (uintptr_t)site & ~(uintptr_t)(PAGE - 1);
    unsigned char *place = word_of(site);
    uint64_t word;
    if (sys_call3(SYS_mprotect, page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) {
        engine.patch = false;
        return;
    }
    bytes_copy((char *)&word, (const char *)place, sizeof word);
    put_jump((unsigned char *)&word + (site - place), site, stub);
    __atomic_store_n((uint64_t *)place, word, __ATOMIC_SEQ_CST);
    sys_call3(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC);
}

static bool is_site(unsigned char *site, const unsigned char *call, long number)
{
    int32_t value;
    if ((uintptr_t)site / PAGE != (uintptr_t)(call + 1) / PAGE || !word_of(site))
        return false;
    bytes_copy((char *)&value, (const char *)site + 1, sizeof value);
    return site[0] == 0xb8 && value == number && call[0] == 0x0f && call[1] == 0x05;
}

/* futex(2) adds nothing to the word, which it can only where it may be written. */
static bool is_writable(const unsigned char *site)
{
    static uint32_t nobody;
    uint32_t nothing = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0);
    long address = (long)((uintptr_t)site & ~(uintptr_t)3);
    long done = sys_call6(SYS_futex, (long)&nobody, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, address, nothing);
    return done != -EFAULT;
}

/* Whether it is time to: the others of the slot bring it nearer, which does no harm. */
static bool is_frequent(const unsigned char *site)
{
    uint8_t *count = &traps[((uintptr_t)site ^ (uintptr_t)site >> 8) % SLOTS];
    uint8_t seen = __atomic_load_n(count, __ATOMIC_RELAXED);
    uint8_t most = engine.tracing ? STOPS : TRAPS;
    if (seen < most)
        __atomic_store_n(count, (uint8_t)(seen + 1), __ATOMIC_RELAXED);
    return seen + 1 >= most;
}

static void site_patch(unsigned char *site)
{
    struct pool *pool = pool_find(site);
    if (!pool) {
        engine.patch = false;
        return;
    }
    unsigned char *stub = pool->next;
    stub_write(pool, site);
    site_write(site, stub);
}

void patch_site(unsigned char *call, long number)
{
    unsigned char *site = call - SITE;
    if (!is_frequent(site) || !is_site(site, call, number) || __atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
        return;
    /* Again: another thread may have rewritten it meanwhile. */
    if (is_site(site, call, number) && !is_writable(site))
        site_patch(site);
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}
