/* execve(2): the engine starts itself again, which then loads the guest's program (main.c).
 *
 * What the kernel would find wrong with the program is found here first, while the caller can still be told:
 * a script's interpreter is looked for inside the container, and so is a program's dynamic loader.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "quick.h"

enum { LINE_SIZE = 256 /* BINPRM_BUF_SIZE, as execve(2) has it */, SCRIPT_DEPTH = 5, FEW = 256 /* words of an argument vector */ };

/* A script's first line, split. */
struct script {
    char path[PATH_SIZE]; /* as the kernel was told */
    char line[LINE_SIZE + 1];
    char *interpreter;
    char *argument; /* NULL for none */
};

struct plan {
    struct path_place place;
    char guest[PATH_SIZE];
    char name[PATH_SIZE]; /* what a script's interpreter and the program itself are told */
    bool is_lost;         /* that is a descriptor which execve closes */
    struct script scripts[SCRIPT_DEPTH];
    int depth;
    long file; /* the program, where it was opened when it was found; else -1 */
    long lent; /* a descriptor that the next engine closes, or -1 */
    char interpreter[PATH_SIZE]; /* what the program names; empty for none */
    struct loader loader;        /* where that is */
    struct loader_room room;
    struct stat program; /* as the container sees it, where root is emulated: its mode may change who runs it */
    bool is_foreign; /* the emulator runs it */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int script_split(struct script *script, long length)
{
    char *at = script->line + 2, *end = script->line + length;
    *end = '\0';
    for (char *c = at; c < end; c++)
        if (*c == '\n' || *c == '\0')
            end = c;
    *end = '\0';
    while (end > at && is_blank(end[-1]))
        *--end = '\0';
    while (is_blank(*at))
        at++;
    if (!*at)
        return -ENOEXEC;
    script->interpreter = at;
    while (*at && !is_blank(*at))
        at++;
    script->argument = NULL;
    if (*at) {
        *at++ = '\0';
        while (is_blank(*at))
            at++;
        script->argument = at;
    }
    return 0;
}

static char *number_text(char text[16], size_t number)
{
    char *at = text + 15;
    *at = '\0';
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    return at;
}

/* A program named by a descriptor alone.  What has no name any more is opened by the next engine through the
 * descriptor, of which it gets one that stays open. */
static int plan_descriptor(struct plan *plan, int file)
{
    char link[40] = "/proc/self/fd/", text[PATH_SIZE], digits[16];
    struct stat by_name, by_file;
    if (file < 0)
        return -EBADF;
    plan->lent = sys_call3(SYS_fcntl, file, F_DUPFD, 3);
    if (plan->lent < 0)
        return (int)plan->lent;
    const char *number = number_text(digits, (size_t)plan->lent);
    bytes_copy(link + bytes_length(link), number, bytes_length(number) + 1);
    long length = sys_call4(SYS_readlinkat, AT_FDCWD, link, text, sizeof text - 1);
    if (length == -ENAMETOOLONG) /* then it goes by what the caller says */
        bytes_copy(text, plan->name, (size_t)(length = (long)bytes_length(plan->name)));
    if (length < 0)
        return (int)length;
    text[length] = '\0';
    bool named = text[0] == '/' && sys_call2(SYS_stat, text, &by_name) == 0 && sys_call2(SYS_fstat, file, &by_file) == 0 &&
                 by_name.st_dev == by_file.st_dev && by_name.st_ino == by_file.st_ino;
    const char *host = named ? text : link;
    plan->place.length = bytes_length(host);
    bytes_copy(plan->place.host, host, plan->place.length + 1);
    if (path_to_guest(&engine.world, text, plan->guest) < 0)
        bytes_copy(plan->guest, text, (size_t)length + 1);
    if (named) {
        sys_call1(SYS_close, plan->lent);
        plan->lent = -1;
    }
    return 0;
}

/* A program in a directory that lies too deep to have a name. */
static int plan_deep(struct plan *plan)
{
    struct path_place *place = &plan->place;
    long file = sys_call4(SYS_openat, place->file, place->host + place->start, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    path_end(place);
    if (file < 0)
        return (int)file;
    int result = plan_descriptor(plan, (int)file);
    sys_call1(SYS_close, file);
    return result;
}

static bool is_link(const char *host)
{
    char text[1];
    return sys_call4(SYS_readlinkat, AT_FDCWD, host, text, sizeof text) >= 0;
}

static int plan_path(struct plan *plan, int dirfd, const char *guest, bool follow)
{
    if (follow && program_find(guest, &plan->place, plan->guest, &plan->file))
        return plan->file < 0 ? (int)plan->file : 0;
    int result = path_resolve(&engine.world, dirfd, guest, PATH_DEEP | (follow ? PATH_FOLLOW : 0), &plan->place);
    if (result == 0 && !follow && is_link(plan->place.host))
        result = -ELOOP;
    if (result == 0 && plan->place.file >= 0)
        return plan_deep(plan);
    if (result < 0) {
        path_end(&plan->place);
        return result;
    }
    if (path_to_guest(&engine.world, plan->place.host, plan->guest) < 0)
        return -EACCES;
    return 0;
}

/* Opens the file as execve would look at it. */
static long plan_open(struct plan *plan)
{
    struct stat info;
    long file = plan->file, result = file < 0 ? -ENOSYS : program_check(file);
    plan->file = -1;
    if (result == 0)
        return file;
    if (file >= 0)
        sys_call1(SYS_close, file);
    if (result != -ENOSYS)
        return result;
    result = sys_call3(SYS_faccessat, AT_FDCWD, plan->place.host, 1 /* X_OK */);
    if (result == 0)
        result = sys_call2(SYS_stat, plan->place.host, &info);
    if (result < 0)
        return result;
    if (!S_ISREG(info.st_mode))
        return -EACCES;
    return hold_read(plan->place.host);
}

/* One file of the chain: a program (0), or a script, whose interpreter is next (1). */
static int plan_look(struct plan *plan, const char *name)
{
    alignas(long) char start[LOAD_START];
    long file = plan_open(plan);
    if (file < 0)
        return (int)file;
    long length = sys_call4(SYS_pread64, file, start, sizeof start, 0);
    int result = length < 0 ? (int)length : 0;
    bool is_script = length >= 2 && start[0] == '#' && start[1] == '!';
    if (result == 0 && !is_script)
        result = load_check((int)file, start, length, plan->interpreter);
    if (engine.root && !is_script && root_file_stat(users_host(), file, &plan->program) < 0)
        plan->program.st_mode = 0;
    sys_call1(SYS_close, file);
    if (result == LOAD_FOREIGN) {
        plan->is_foreign = true;
        return 0;
    }
    /* The next engine tells the user of the one, for a caller that got ENOEXEC would take the file for a script;
     * and is the other itself. */
    if (result == LOAD_32_BIT || result == LOAD_ENGINE)
        return 0;
    if (!is_script)
        return result < 0 ? result : loader_find(plan->interpreter, &plan->room, &plan->loader);
    if (plan->depth == SCRIPT_DEPTH)
        return -ELOOP;
    struct script *script = &plan->scripts[plan->depth++];
    bytes_copy(script->path, name, bytes_length(name) + 1);
    length = length < LINE_SIZE ? length : LINE_SIZE;
    bytes_copy(script->line, start, (size_t)length);
    result = script_split(script, length);
    return result < 0 ? result : 1;
}

/* A program that is named through a descriptor has a name below /dev/fd: execveat(2). */
static int plan_name(struct plan *plan, int dirfd, const char *guest)
{
    static const char prefix[] = "/dev/fd/";
    size_t at = 0, length = bytes_length(guest);
    char digits[16];
    bool by_descriptor = dirfd != AT_FDCWD && guest[0] != '/';
    plan->is_lost = by_descriptor && (sys_call2(SYS_fcntl, dirfd, F_GETFD) & FD_CLOEXEC);
    if (by_descriptor) {
        if (dirfd < 0)
            return -EBADF;
        const char *number = number_text(digits, (size_t)dirfd);
        bytes_copy(plan->name, prefix, sizeof prefix - 1);
        at = sizeof prefix - 1 + bytes_length(number);
        bytes_copy(plan->name + sizeof prefix - 1, number, bytes_length(number));
        if (length > 0)
            plan->name[at++] = '/';
    }
    if (at + length >= sizeof plan->name)
        return -ENAMETOOLONG;
    bytes_copy(plan->name + at, guest, length + 1);
    return 0;
}

static int plan_make(struct plan *plan, int dirfd, const char *guest, int flags)
{
    bool by_descriptor = (flags & AT_EMPTY_PATH) && !*guest;
    plan->depth = 0;
    plan->is_foreign = false;
    plan->lent = plan->file = -1;
    plan->loader = (struct loader){"", "", "", ""};
    int result = plan_name(plan, dirfd, guest);
    if (result == 0)
        result = by_descriptor ? plan_descriptor(plan, dirfd)
                               : plan_path(plan, dirfd, guest, !(flags & AT_SYMLINK_NOFOLLOW));
    const char *name = plan->name;
    while (result == 0 && (result = plan_look(plan, name)) == 1) {
        name = plan->scripts[plan->depth - 1].interpreter;
        if (plan->lent >= 0)
            sys_call1(SYS_close, plan->lent);
        plan->lent = -1;
        result = plan->is_lost ? -ENOENT : plan_path(plan, AT_FDCWD, name, true);
    }
    return result;
}

/* ---- the new argument vector ---- */

static long argument_count(char *const *arguments)
{
    for (long count = 0; arguments; count++) {
        char *one;
        if (user_read(&one, &arguments[count], sizeof one) < 0)
            return -EFAULT;
        if (!one)
            return count;
    }
    return 0;
}

/* What main.c reads back: engine_restart. */
static size_t vector_head(const char **vector, const struct plan *plan, char *options, const char *count)
{
    size_t at = 0;
    char *letter = options;
    *letter++ = '\001';
    if (engine.openat2)
        *letter++ = 'o';
    if (engine.patch)
        *letter++ = 'p';
    if (engine.mm_map)
        *letter++ = 'm';
    if (engine.execmem)
        *letter++ = 'x';
    if (engine.tracing)
        *letter++ = engine.tracing == TRACE_PATHS ? 't' : 'a';
    if (land_is_asked())
        *letter++ = 'd';
    if (engine.root) {
        *letter++ = 'i';
        letter += users_write(&plan->program, letter);
    }
    if (engine.kernel[0])
        *letter++ = 'k';
    bytes_copy(letter, engine.kernel, bytes_length(engine.kernel) + 1);
    vector[at++] = engine.self;
    vector[at++] = options;
    vector[at++] = count;
    for (size_t i = 0; i < engine.world.count; i++) {
        const struct path_view *view = &engine.world.views[i];
        vector[at++] = view->guest;
        vector[at++] = view->host;
        vector[at++] = engine.unlisted[i] ? view->read_only ? "ru" : "wu" : view->read_only ? "r" : "w";
    }
    vector[at++] = engine.ports.count > 0 ? engine.ports.text : "";
    vector[at++] = engine.emulator.path ? engine.emulator.text : "";
    vector[at++] = plan->is_foreign ? engine.emulator.path : plan->place.host;
    vector[at++] = plan->guest;
    vector[at++] = plan->loader.guest;
    vector[at++] = plan->loader.host;
    vector[at++] = plan->loader.link;
    vector[at++] = plan->loader.text;
    vector[at++] = plan->name;
    return at;
}

static size_t vector_scripts(const char **vector, size_t at, const struct plan *plan)
{
    for (int i = plan->depth; i-- > 0;) {
        vector[at++] = plan->scripts[i].interpreter;
        if (plan->scripts[i].argument)
            vector[at++] = plan->scripts[i].argument;
    }
    if (plan->depth > 0)
        vector[at++] = plan->scripts[0].path;
    return at;
}

/* Puts the vector together in `vector`, and starts. */
static long start_with(const char **vector, const struct plan *plan, char *const *arguments, long count,
                       char *const *environment)
{
    char options[9 + ROOT_IDS_TEXT + sizeof engine.kernel], number[16];
    size_t at = vector_head(vector, plan, options, number_text(number, engine.world.count));
    size_t head = at;
    at = vector_scripts(vector, at, plan);
    for (long i = plan->depth > 0 ? 1 : 0; i < count; i++)
        vector[at++] = arguments[i];
    if (count == 0 && plan->depth == 0)
        vector[at++] = ""; /* as the kernel does since 5.18 */
    if (plan->is_foreign)
        at = head + foreign_wrap(vector + head, at - head, plan->lent < 0 ? plan->guest : plan->place.host);
    vector[at] = NULL;
    return sys_call3(SYS_execve, engine.self, vector, environment);
}

static long start(const struct plan *plan, char *const *arguments, char *const *environment)
{
    const char *few[FEW];
    long count = argument_count(arguments);
    if (count < 0)
        return count;
    size_t words = (size_t)count + 14 + FOREIGN_WORDS + 3 * engine.world.count + 3 * SCRIPT_DEPTH;
    if (words <= FEW)
        return start_with(few, plan, arguments, count, environment);
    size_t room = words * sizeof(char *);
    const char **vector = (const char **)sys_call6(SYS_mmap, 0, (long)room, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((uintptr_t)vector > -4096ul)
        return -ENOMEM;
    long result = start_with(vector, plan, arguments, count, environment);
    sys_call2(SYS_munmap, vector, room);
    return result;
}

long exec_program(int dirfd, const char *guest, char *const *arguments, char *const *environment, int flags)
{
    struct plan plan;
    long result = plan_make(&plan, dirfd, guest, flags);
    if (result == 0)
        result = start(&plan, arguments, environment);
    if (plan.lent >= 0)
        sys_call1(SYS_close, plan.lent);
    return result;
}

long exec_call(const struct call *entry, struct trapped *call)
{
    char guest[PATH_SIZE];
    const long *a = call->arguments;
    int length = user_string(guest, (const char *)a[entry->path]);
    if (length < 0)
        return length;
    int first = entry->path + 1;
    int dirfd = entry->dirfd < 0 ? AT_FDCWD : (int)a[entry->dirfd];
    int flags = entry->flags < 0 ? 0 : (int)a[entry->flags];
    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    return exec_program(dirfd, guest, (char *const *)a[first], (char *const *)a[first + 1], flags);
}
