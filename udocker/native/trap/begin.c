/* udocker-trap: runs a program in a container's root, without privileges and without namespaces.
 *
 *   udocker-trap --root DIR [OPTION...] -- PROGRAM [ARGUMENT...]
 *   udocker-trap [--trace] [--trace-all] [--patch] --probe
 *
 *   --root DIR              the container's root directory on the host
 *   --uid N, --gid N        who the program is (the caller); anybody else is emulated, root too
 *   --workdir DIR           in the container; created where it is missing (/)
 *   --volume DIR            make sure that this directory is in the container, and writable
 *   --scratch DIR           an empty directory that ends with the run (scratch.c)
 *   --bind SOURCE TARGET    show the host's SOURCE at the container's TARGET; in the order given
 *   --bind-ro SOURCE TARGET the same, read-only with everything below
 *   --extend SOURCE TARGET TEXT
 *                           show a copy of the host's SOURCE, or where that is empty of the container's TARGET
 *                           itself, with TEXT after it at TARGET, read-only (extend.c)
 *   --files DIR             where such copies are kept, on the host
 *   --read-only             the container's own files cannot be changed
 *   --kernel RELEASE        what uname(2) answers
 *   --emulator MACHINE:PATH what runs programs of another machine, by its number in elf(5): a static program of the host
 *   --ports LIST            ports that the host has under other numbers: ../net/ports.h
 *   --without FEATURE       do without openat2, prctl-mm-map or execmem, as where the kernel lacks or refuses it
 *   --trace                 let a tracer deliver calls (../tracer), which a filter tells of
 *   --trace-all             the same, without a filter
 *   --patch                 rewrite call sites after their first trap
 *   --exec                  what is told is of udocker exec
 *   --detach                the program's standard error is what its standard output is; the launcher's own is the
 *                           caller's still, and closed once the program has started
 *   --probe                 only try whether calls can be trapped, and sites rewritten: status 0, or the reason
 *
 * Exit status: 125 for a failure of the launcher, 126 for a program that cannot be executed, 127 for one
 * that is not there; one line on standard error tells why.
 */

#include "begin.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "../tracer/tracer.h"

static bool is_word(const char *one, const char *other)
{
    size_t length = bytes_length(one);
    return length == bytes_length(other) && bytes_equal(one, other, length);
}

/* ---- the command line: only udocker writes it, so errors are terse ---- */

static _Noreturn void usage_stop(const char *object, const char *cause)
{
    report_and_stop(object, cause, "arguments of udocker-trap");
}

static void take_root(struct options *options, char **values)
{
    char host[PATH_SIZE];
    host_path(values[0], host);
    if (!is_directory(host))
        report_failure(values[0], -ENOTDIR);
    options->root = values[0];
    engine_add_view("", host, false);
}

static void take_read_only(struct options *options, char **values)
{
    (void)options, (void)values;
    engine.world.views[0].read_only = engine.read_only = true;
}

static void take_workdir(struct options *options, char **values)
{
    options->workdir = values[0];
}

static void take_files(struct options *options, char **values)
{
    options->files = values[0];
}

static void take_patch(struct options *options, char **values)
{
    (void)options, (void)values;
    engine.patch = true;
}

/* Who delivers calls in a container is settled: it does so for an engine that was started in it too. */
static void trace_by(enum tracing tracing)
{
    if (!engine.nested)
        engine.tracing = (uint8_t)tracing;
}

static void take_trace(struct options *options, char **values)
{
    (void)options, (void)values;
    trace_by(TRACE_PATHS);
}

static void take_trace_all(struct options *options, char **values)
{
    (void)options, (void)values;
    trace_by(TRACE_ALL);
}

static void take_probe(struct options *options, char **values)
{
    (void)values;
    options->probe = true;
}

static void take_exec(struct options *options, char **values)
{
    (void)options, (void)values;
    report_act("exec");
}

static void take_detach(struct options *options, char **values)
{
    (void)options, (void)values;
    report_keep();
}

/* What can be done without. */
static const struct feature {
    const char *name;
    bool *has;
} FEATURES[] = {
    {"openat2", &engine.openat2},
    {"prctl-mm-map", &engine.mm_map},
    {"execmem", &engine.execmem},
};

static void take_without(struct options *options, char **values)
{
    (void)options;
    for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++)
        if (is_word(values[0], FEATURES[i].name)) {
            *FEATURES[i].has = false;
            return;
        }
    usage_stop(values[0], "nothing that can be done without");
}

static void take_kernel(struct options *options, char **values)
{
    (void)options;
    int result = kernel_pretend(values[0]);
    if (result < 0)
        report_failure("--kernel", result);
}

static void take_ports(struct options *options, char **values)
{
    (void)options;
    int result = ports_read(&engine.ports, values[0]);
    if (result < 0)
        report_failure("--ports", result);
}

/* In a container the emulator is a program of that, whose place on the host is what counts. */
static int emulator_place(void)
{
    char host[PATH_SIZE];
    struct line text = {.at = 0};
    host_path(engine.emulator.path, host);
    line_put_number(&text, engine.emulator.machine, 10);
    line_put(&text, ":");
    line_put(&text, host);
    return text.at < sizeof text.text ? foreign_take(text.text) : -ENAMETOOLONG;
}

static void take_emulator(struct options *options, char **values)
{
    (void)options;
    int result = foreign_take(values[0]);
    if (result == 0 && engine.nested)
        result = emulator_place();
    if (result < 0)
        report_failure("--emulator", result);
}

static uint32_t number_of(const char *option, const char *text)
{
    uint64_t number = 0;
    for (const char *digit = text; *digit; digit++) {
        if (*digit < '0' || *digit > '9' || number >= 1ul << 32)
            usage_stop(option, "not a user or group number");
        number = number * 10 + (uint64_t)(*digit - '0');
    }
    if (!*text || number >= (1ul << 32) - 1)
        usage_stop(option, "not a user or group number");
    return (uint32_t)number;
}

static void take_uid(struct options *options, char **values)
{
    options->uid = number_of("--uid", values[0]);
}

static void take_gid(struct options *options, char **values)
{
    options->gid = number_of("--gid", values[0]);
}

static void take_volume(struct options *options, char **values)
{
    (void)options;
    scratch_volume(values[0]);
}

static void take_scratch(struct options *options, char **values)
{
    (void)options;
    scratch_add(values[0]);
}

static void take_bind(struct options *options, char **values)
{
    (void)options;
    bind_add(values[0], values[1], false);
}

static void take_bind_ro(struct options *options, char **values)
{
    (void)options;
    bind_add(values[0], values[1], true);
}

static void take_extend(struct options *options, char **values)
{
    extend_add(options->files, values[0], values[1], values[2]);
}

/* In which order what is asked for is done, wherever it stands in the command line. */
enum step { STEP_MODE, STEP_SET, STEP_PROTECT, STEP_VOLUMES, STEP_SCRATCH, STEP_BINDS, STEP_FILES, STEPS };

static const struct option {
    const char *name;
    int values;
    enum step step;
    void (*take)(struct options *options, char **values);
} OPTIONS[] = {
    {"--exec", 0, STEP_MODE, take_exec},
    {"--detach", 0, STEP_MODE, take_detach},
    {"--trace", 0, STEP_MODE, take_trace},
    {"--trace-all", 0, STEP_MODE, take_trace_all},
    {"--root", 1, STEP_SET, take_root},
    {"--uid", 1, STEP_SET, take_uid},
    {"--gid", 1, STEP_SET, take_gid},
    {"--workdir", 1, STEP_SET, take_workdir},
    {"--files", 1, STEP_SET, take_files},
    {"--kernel", 1, STEP_SET, take_kernel},
    {"--ports", 1, STEP_SET, take_ports},
    {"--emulator", 1, STEP_SET, take_emulator},
    {"--without", 1, STEP_SET, take_without},
    {"--patch", 0, STEP_SET, take_patch},
    {"--probe", 0, STEP_SET, take_probe},
    {"--read-only", 0, STEP_PROTECT, take_read_only},
    {"--volume", 1, STEP_VOLUMES, take_volume},
    {"--scratch", 1, STEP_SCRATCH, take_scratch},
    {"--bind", 2, STEP_BINDS, take_bind},
    {"--bind-ro", 2, STEP_BINDS, take_bind_ro},
    {"--extend", 3, STEP_FILES, take_extend},
};

static const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        if (is_word(name, OPTIONS[i].name))
            return &OPTIONS[i];
    usage_stop(name, "unknown option");
}

/* Does what belongs to one step; returns where the program's name begins. */
static char **options_take(struct options *options, char **words, enum step step)
{
    while (*words && !is_word(*words, "--")) {
        const struct option *option = option_find(*words);
        char **values = words + 1;
        for (int i = 0; i < option->values; i++)
            if (!values[i])
                usage_stop(*words, "its value is missing");
        if (option->step == step)
            option->take(options, values);
        words = values + option->values;
        if (step > STEP_SET && engine.world.count == 0)
            usage_stop("--root", "a root is needed");
    }
    return *words ? words + 1 : words;
}

/* ---- the program ---- */

static void workdir_enter(const char *workdir)
{
    struct target target;
    target_make(workdir, true, &target);
    long result = sys_call1(SYS_chdir, target.place.host);
    if (result < 0)
        report_failure(workdir, result);
}

/* Directories have to be listed otherwise than the kernel does where they lack something. */
static void listing_start(void)
{
    for (size_t i = 0; i < engine.world.count; i++) {
        int result = engine.unlisted[i] ? filter_add_call(SYS_getdents64) : 0;
        if (result < 0)
            report_failure("seccomp", result);
        if (engine.unlisted[i])
            return;
    }
}

/* Somebody else than the caller.  Within an engine that does without, its filter does not trap what this takes. */
static void users_start(const struct options *options)
{
    struct stat root;
    const char *host = engine.world.views[0].host;
    if (options->uid == (uint32_t)sys_call0(SYS_geteuid) && options->gid == (uint32_t)sys_call0(SYS_getegid))
        return;
    long result = sys_call2(SYS_stat, host[0] ? host : "/", &root);
    if (result < 0)
        report_failure(options->root, result);
    users_begin(options->uid, options->gid, &root);
    if (filter_is_installed() && (result = filter_add_root()) < 0)
        report_failure("seccomp", result);
}

static const char *variable(char *const *environment, const char *name)
{
    size_t length = bytes_length(name);
    for (; *environment; environment++)
        if (bytes_equal(*environment, name, length) && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static bool has_openat2(void)
{
    /* EFAULT or E2BIG from a kernel that has the call; it is asked with nothing. */
    return sys_call4(SYS_openat2, AT_FDCWD, "", NULL, 0) != -ENOSYS;
}

static void self_find(void)
{
    static const char link[] = "/proc/self/exe";
    char self[PATH_SIZE] = "";
    long length = sys_call4(SYS_readlinkat, AT_FDCWD, link, self, sizeof self - 1);
    if (length < 0)
        report_failure(link, length);
    engine.self = engine_keep(self);
    if (!engine.self)
        report_failure(self, -ENAMETOOLONG);
}

int engine_begin(char **arguments, char **environment)
{
    struct options options = {
        .workdir = "/", .uid = (uint32_t)sys_call0(SYS_geteuid), .gid = (uint32_t)sys_call0(SYS_getegid)};
    bool by_path = false;
    engine.openat2 = has_openat2();
    engine.mm_map = process_can_tell();
    engine.execmem = true;
    char **command = NULL;
    for (int step = STEP_MODE; step < STEPS && !options.probe; step++)
        command = options_take(&options, arguments + 1, (enum step)step);
    if (options.probe)
        return probe_calls();
    if (engine.world.count == 0 || !*command)
        usage_stop("--root", "a root and a program are needed");
    self_find();
    workdir_enter(options.workdir);
    listing_start();
    users_start(&options);
    if (engine.tracing && !engine.nested)
        tracer_start();
    for (const char *c = command[0]; *c; c++)
        by_path = by_path || *c == '/';
    long error = by_path || !command[0][0] ? program_start(command[0], command, environment)
                                           : program_search(command, environment, variable(environment, "PATH"));
    return program_refused(command[0], by_path, error);
}
