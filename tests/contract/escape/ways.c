/* The ways that could lead to a directory outside. */

#include "escape.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In a pattern: %o the outside directory, %v the victim, %p the parent, %t this thread, %d a descriptor of "/". */
static const struct {
    const char *from, *pattern;
} patterns[] = {
    {"/", "%o"}, /* first: the way that leads there where nothing is contained */
    {"/", "/../../..%o"},
    {"/", "/tmp/../../../..%o"},
    {"/", "//tmp/./..//../.%o"},
    {WORK, "../../../../../../../..%o"},
    {WORK, "absolute"},
    {WORK, WORK "/relative"},
    {WORK, WORK "/second"},
    {WORK, WORK "/\xff\xfe\n"},
    {WORK, WORK "/root%o"},
    {WORK, WORK "/victim"},
    {WORK, "victim/../outside"},
    {"/", "/data/absolute"},
    {"/", "/data/relative"},
    {"/", "/data/../outside"},
    {"/data", "../outside"},
    {"/data", "relative"},
    {"/", "/one/../outside"},
    {"/", "/proc/self/root%o"},
    {"/", "/proc/self/root/../..%o"},
    {"/", "/proc/self/cwd/../../../..%o"},
    {"/", "/proc/thread-self/root%o"},
    {"/", "/proc/thread-self/cwd/..%o"},
    {"/", "/proc/self/task/%t/root%o"},
    {"/", "/proc/self/task/%t/cwd/..%o"},
    {"/", "/proc/%t/root%o"},
    {"/", "/proc/1/root%o"},
    {"/", "/proc/1/cwd%o"},
    {"/", "/proc/1/task/1/root%o"},
    {"/", "/proc/%p/root%o"},
    {"/", "/proc/%v/root%o"},
    {"/", "/proc/%v/cwd"},
    {"/", "/proc/%v/cwd/../outside"},
    {"/", "/proc/%v/cwd/."},
    {"/", "/proc/%v/fd/7"},
    {"/", "/proc/%v/fd/7/"},
    {"/", "/proc/%v/fd/7/../outside"},
    {"/", "/proc/%v/task/%v/cwd"},
    {"/", "/proc/%v/task/%v/root%o"},
    {"/", "/proc/%v/task/%v/fd/7"},
    {"/", "//proc//./self/../%v//cwd//"},
    {"/", "/proc/self/fd/%d/..%o"},
    {"/", "/proc/self/fd/%d%o"},
    {"/", "/dev/fd/%d/..%o"},
    {"/proc", "%v/cwd"},
    {"/proc", "self/root%o"},
    {"/proc", "%v/root%o"},
    {"/proc/self", "root%o"},
    {"/proc/self", "cwd/../../..%o"},
    {"/proc/self/fd", "%d/..%o"},
    {"/proc/self/task", "%t/root%o"},
    {"/proc/self/root", ".%o"},
    {"/proc/self/root", "..%o"},
    {"/", "(long)%o"},
    {"/", "(longest)%o"},
};

size_t ways_count(void)
{
    return sizeof patterns / sizeof *patterns;
}

static void link_make(const char *target, const char *name)
{
    remove_tree(name);
    if (symlink(target, name) < 0)
        perror(name);
}

static void links_make(const struct scene *scene)
{
    static bool made;
    char text[LONGEST];
    if (made)
        return;
    made = true;
    link_make(scene->outside, WORK "/absolute");
    link_make(scene->outside, WORK "/\xff\xfe\n");
    snprintf(text, sizeof text, "../../../../../../../../../..%s", scene->outside);
    link_make(text, WORK "/relative");
    link_make(WORK "/absolute", WORK "/second");
    link_make("/proc/self/root", WORK "/root");
    snprintf(text, sizeof text, "/proc/%ld/cwd", scene->victim);
    link_make(text, WORK "/victim");
}

static int root_descriptor(void)
{
    static int file = -1;
    if (file < 0)
        file = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return file;
}

/* Fills a path with "/." or "/..", so that with a name after it it has the greatest length there is. */
static size_t fill(char *path, const char *step, size_t end)
{
    size_t at = 0, size = strlen(step);
    while (at + size + 16 < end) {
        memcpy(path + at, step, size);
        at += size;
    }
    while (at + 16 < end)
        path[at++] = '/';
    path[at] = '\0';
    return at;
}

static const char *expand(const struct scene *scene, char letter, char number[32])
{
    if (letter == 'o')
        return scene->outside;
    long value = letter == 'v'   ? scene->victim
                 : letter == 'p' ? getppid()
                 : letter == 't' ? gettid()
                                 : root_descriptor();
    snprintf(number, 32, "%ld", value);
    return number;
}

bool way_make(const struct scene *scene, size_t number, struct way *way)
{
    const char *pattern = patterns[number].pattern;
    char digits[32];
    size_t at = 0, end = LONGEST - strlen(scene->outside);
    links_make(scene);
    way->from = patterns[number].from;
    if (pattern[0] == '(') {
        at = fill(way->path, strstr(pattern, "longest") ? "/.." : "/.", end);
        pattern = strchr(pattern, ')') + 1;
    }
    for (; *pattern; pattern++) {
        const char *piece = *pattern == '%' ? expand(scene, *++pattern, digits) : NULL;
        size_t size = piece ? strlen(piece) : 1;
        memcpy(way->path + at, piece ? piece : pattern, size);
        at += size;
    }
    way->path[at] = '\0';
    return true;
}
