/* What a program may expect of its text, where an engine rewrites call sites.  Runs inside a container, as
 * "patch_check NAME"; status 0, or a line that tells what was wrong.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096, OFTEN = 100, THREADS = 8, LINE = 64 };

/* access(2): mov $21, %eax; syscall; ret */
static const unsigned char SITE[] = {0xb8, 21, 0, 0, 0, 0x0f, 0x05, 0xc3};

typedef long (*function)(const char *path, long mode);

static unsigned char *page_of(int protection)
{
    unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    for (int at = 0; at + (int)sizeof SITE <= PAGE; at += LINE - 1) /* at every place in a line */
        memcpy(page + at, SITE, sizeof SITE);
    EXPECT(mprotect(page, PAGE, protection) == 0);
    return page;
}

static void call_often(const unsigned char *page)
{
    for (int i = 0; i < OFTEN; i++)
        for (int at = 0; at + (int)sizeof SITE <= PAGE; at += LINE - 1) {
            function call = (function)(uintptr_t)(page + at);
            EXPECT(call("/etc/passwd", R_OK) == 0);
            EXPECT(call("/etc/nothing", R_OK) == -ENOENT);
        }
}

/* What a program may write it may also compare, copy and replace. */
static void text_that_is_made_stays_as_it_was_made(void)
{
    unsigned char *page = page_of(PROT_READ | PROT_WRITE | PROT_EXEC);
    call_often(page);
    for (int at = 0; at + (int)sizeof SITE <= PAGE; at += LINE - 1)
        EXPECT(memcmp(page + at, SITE, sizeof SITE) == 0);
    page[0] = 0xc3; /* it can be written still */
    ((function)(uintptr_t)page)("", 0);
}

static void text_that_is_fixed_does_as_before(void)
{
    call_often(page_of(PROT_READ | PROT_EXEC));
}

static void *work(void *page)
{
    call_often(page);
    return NULL;
}

/* While some are in the text, others rewrite it. */
static void text_that_many_threads_run(void)
{
    for (int turn = 0; turn < 20; turn++) {
        pthread_t threads[THREADS];
        unsigned char *page = page_of(PROT_READ | PROT_EXEC);
        for (int i = 0; i < THREADS; i++)
            EXPECT(pthread_create(&threads[i], NULL, work, page) == 0);
        for (int i = 0; i < THREADS; i++)
            EXPECT(pthread_join(threads[i], NULL) == 0);
        EXPECT(munmap(page, PAGE) == 0);
    }
}

static const struct check CHECKS[] = {
    {"made", text_that_is_made_stays_as_it_was_made},
    {"fixed", text_that_is_fixed_does_as_before},
    {"threads", text_that_many_threads_run},
};

int main(int argc, char **argv)
{
    return guest_main(argc, argv, CHECKS, sizeof CHECKS / sizeof *CHECKS);
}
