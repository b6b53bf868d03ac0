/* Attacks that are more than one call with one path. */

#include "escape.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void reached(const char *how, bool whether)
{
    if (whether)
        printf("reached %s\n", how);
}

static const char *secret_of(const struct scene *scene)
{
    return below(scene->outside, "secret");
}

/* What kills the program that tries it must not end the others. */
static void in_child(void (*attempt)(const struct scene *), const struct scene *scene)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        attempt(scene);
        _exit(0);
    }
    if (child > 0)
        waitpid(child, &status, 0);
}

static void show_number(long process, const char *format)
{
    char path[128];
    snprintf(path, sizeof path, format, process, process);
    reached(path, show(path));
}

/* ---- names that mean another place than they did ---- */

static void directory_removed(const struct scene *scene)
{
    char link[64];
    mkdir(WORK "/gone", 0755);
    int file = open(WORK "/gone", O_RDONLY | O_DIRECTORY);
    if (file < 0 || rmdir(WORK "/gone") < 0 || symlink(scene->outside, WORK "/gone (deleted)") < 0)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    show_at(file, "secret");
    show_at(file, "directory/../secret");
    show_at(file, "./directory/../secret");
    show(below(link, "secret"));
    show(below(link, "directory/../secret"));
    if (fchdir(file) == 0) {
        show("secret");
        show("directory/../secret");
        show("/proc/self/cwd/secret");
    }
}

static void program_replaced(const struct scene *scene)
{
    char *arguments[] = {WORK "/self", "tricks", "program-is-replaced", (char *)scene->outside, "0", NULL};
    char block[65536];
    int from = open("/proc/self/exe", O_RDONLY), to;
    remove_tree(WORK "/self");
    to = open(WORK "/self", O_CREAT | O_WRONLY, 0755);
    for (ssize_t size; (size = read(from, block, sizeof block)) > 0;)
        if (write(to, block, (size_t)size) != size)
            return;
    close(to);
    if (vfork() == 0) {
        execv(WORK "/self", arguments);
        _exit(1);
    }
    wait(NULL);
}

static void program_is_replaced(const struct scene *scene)
{
    remove_tree(WORK "/self");
    if (symlink(secret_of(scene), WORK "/self") == 0)
        show("/proc/self/exe");
}

/* The binds /sub and /last show directories that lie in the bind /data, which can be written. */
static void bind_replaced(const struct scene *scene)
{
    if (rename("/data/d", "/data/moved") == 0 && symlink(scene->outside, "/data/d") == 0)
        show("/sub/secret");
    if (rename("/data/last", "/data/away") == 0 && symlink(scene->outside, "/data/last") == 0)
        show("/last/secret");
}

static void link_over_bound_file(const struct scene *scene)
{
    remove_tree(WORK "/link");
    if (symlink(secret_of(scene), WORK "/link") == 0) {
        rename(WORK "/link", "/one");
        show("/one");
    }
    if (symlink(secret_of(scene), WORK "/mine") == 0) {
        renameat2(AT_FDCWD, WORK "/mine", AT_FDCWD, "/one", RENAME_EXCHANGE);
        show("/one");
    }
}

/* ---- what a process of the host has ---- */

static void victims_files(const struct scene *scene)
{
    static const char *const patterns[] = {
        "/proc/%ld/fd/8", "/proc/%ld/task/%ld/fd/8", "/proc/%ld/exe", "/proc/%ld/task/%ld/exe",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        show_number(scene->victim, patterns[i]);
    show_number(1, "/proc/%ld/exe");
}

static void victims_mappings(const struct scene *scene)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/map_files", scene->victim);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        show(below(path, entry->d_name));
}

static void take_descriptor(const struct scene *scene)
{
    int process = (int)syscall(SYS_pidfd_open, scene->victim, 0);
    int directory = (int)syscall(SYS_pidfd_getfd, process, VICTIM_DIRECTORY, 0);
    if (directory >= 0)
        show_at(directory, "secret");
}

static void enter_namespaces(const struct scene *scene)
{
    static const char *const names[] = {"user", "mnt", "pid"};
    char path[64];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/proc/%ld/ns/%s", scene->victim, names[i]);
        int file = open(path, O_RDONLY);
        setns(file, 0);
    }
    int process = (int)syscall(SYS_pidfd_open, scene->victim, 0);
    setns(process, CLONE_NEWNS);
    show(secret_of(scene));
}

/* A descriptor that a process of the host gives away is a gift; what lies above it is not. */
static void above_what_was_given(const struct scene *scene)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int files[2] = {-1, -1}, client = socket(AF_UNIX, SOCK_STREAM, 0);
    char byte, room[CMSG_SPACE(sizeof files)];
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", scene->more);
    if (connect(client, (struct sockaddr *)&address, sizeof address) < 0 || recvmsg(client, &message, 0) != 1 ||
        !CMSG_FIRSTHDR(&message)) {
        printf("nothing was given\n");
        return;
    }
    memcpy(files, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof files);
    show_at(files[0], "../outside/secret");
    show_at(files[0], "./../outside/secret");
    show_at(files[0], "directory/../../outside/secret");
    show_at(files[0], "link");
    if (fchdir(files[0]) == 0) {
        show("../outside/secret");
        show("/proc/self/cwd/../outside/secret");
        if (chdir("..") == 0)
            show("outside/secret");
    }
}

/* ---- calls that need no path, or come another way ---- */

static void open_by_handle(const struct scene *scene)
{
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    struct file_handle *handle = (struct file_handle *)room;
    const char *text = scene->more; /* "TYPE:BYTES", in hexadecimal */
    unsigned byte;
    char *end;
    handle->handle_type = (int)strtol(text, &end, 16);
    handle->handle_bytes = 0;
    for (text = end + 1; sscanf(text, "%2x", &byte) == 1; text += 2)
        handle->f_handle[handle->handle_bytes++] = (unsigned char)byte;
    for (int turn = 0; turn < 2; turn++) {
        int root = open("/", O_RDONLY | O_DIRECTORY), file = open_by_handle_at(root, handle, O_RDONLY);
        char content[4096];
        ssize_t size = file < 0 ? 0 : read(file, content, sizeof content);
        if (size > 0)
            fwrite(content, 1, (size_t)size, stdout);
        if (turn == 0)
            unshare(CLONE_NEWUSER | CLONE_NEWNS);
    }
}

static void spill(long file)
{
    char text[4096];
    ssize_t size = file < 0 ? 0 : read((int)file, text, sizeof text);
    if (size > 0)
        fwrite(text, 1, (size_t)size, stdout);
}

/* The x32 ABI's numbers for the same calls: syscall(2). */
static void other_numbers(const struct scene *scene)
{
    spill(syscall(0x40000000 + SYS_open, secret_of(scene), O_RDONLY));
    spill(syscall(0x40000000 + SYS_openat, AT_FDCWD, secret_of(scene), O_RDONLY));
    spill(syscall(0x40000000 + SYS_creat, below(scene->outside, "made"), 0644));
}

/* Calls of a 32-bit program, which a 64-bit one can make as well. */
static void old_gate(const struct scene *scene)
{
    char *path = mmap(NULL, LONGEST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    long file;
    if (path == MAP_FAILED)
        return;
    snprintf(path, LONGEST, "%s", secret_of(scene));
#ifdef __i386__
    __asm__ volatile("int $0x80" : "=a"(file) : "a"(5L /* open */), "b"(path), "c"(0L), "d"(0L) : "memory");
    spill((int)file);
    /* The other way: calls of a 64-bit program, by its code segment. */
    __asm__ volatile("lcall $0x33, $1f; jmp 2f; 1: .byte 0x0f, 0x05, 0xcb; 2:"
                     : "=a"(file)
                     : "a"(2L /* open */), "D"(path), "S"(0L), "d"(0L)
                     : "ecx", "memory");
#else
    __asm__ volatile("int $0x80" : "=a"(file) : "a"(5L /* open */), "b"(path), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
#endif
    spill((int)file);
}

/* A call from text that did not exist when the program began. */
static void own_text(const struct scene *scene)
{
#ifdef __i386__
    static const unsigned char code[] = {0x53, 0x8b, 0x44, 0x24, 0x08, 0x8b, 0x5c, 0x24, 0x0c, 0x8b,
                                         0x4c, 0x24, 0x10, 0x31, 0xd2, 0xcd, 0x80, 0x5b, 0xc3};
#else
    static const unsigned char code[] = {0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x31, 0xd2, 0x0f, 0x05, 0xc3};
#endif
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    memcpy(page, code, sizeof code); /* (number, one, other) */
    long (*call)(long, long, long);
    memcpy(&call, &page, sizeof call);
    for (int i = 0; i < 3; i++)
        spill(call(SYS_open, (long)secret_of(scene), O_RDONLY));
}

static void without_signals(const struct scene *scene)
{
    struct sigaction ignored = {.sa_handler = SIG_IGN}, none = {.sa_handler = SIG_DFL};
    sigset_t all;
    sigfillset(&all);
    sigaction(SIGSYS, &ignored, NULL);
    show(secret_of(scene));
    sigprocmask(SIG_BLOCK, &all, NULL);
    show(secret_of(scene));
    sigaction(SIGSYS, &none, NULL);
    show(secret_of(scene));
}

static void other_dispatch(const struct scene *scene)
{
    static char selector;
    prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector);
    show(secret_of(scene));
    selector = 1;
    show(secret_of(scene));
}

static void raw_children(const struct scene *scene)
{
    static const long kinds[] = {SIGCHLD, SIGCHLD | CLONE_FILES | CLONE_FS, SIGCHLD | CLONE_PARENT};
    for (size_t i = 0; i < 3; i++) {
        long child = syscall(SYS_clone, kinds[i], 0, 0, 0, 0);
        if (child == 0) {
            show(secret_of(scene));
            _exit(0);
        }
        if (child > 0)
            waitpid((pid_t)child, NULL, 0);
    }
}

/* For the administrator alone; whether the path was looked at at all is what counts. */
static void privileged_calls(const struct scene *scene)
{
    static const struct {
        const char *name;
        long number, path, other;
    } table[] = {
        {"acct", SYS_acct, 0, 0},          {"swapon", SYS_swapon, 0, 0},   {"swapoff", SYS_swapoff, 0, 0},
        {"quotactl", SYS_quotactl, 1, 0},  {"uselib", SYS_uselib, 0, 0},   {"umount2", SYS_umount2, 0, 2},
        {"chroot", SYS_chroot, 0, 0},      {"mount", SYS_mount, 1, 0},     {"pivot_root", SYS_pivot_root, 0, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        long path = (long)secret_of(scene), first = table[i].path == 0 ? path : 0;
        reached(table[i].name, syscall(table[i].number, first, table[i].path == 1 ? path : table[i].other, 0, 0, 0) == 0);
    }
}

static void in_a_child_signals(const struct scene *scene)
{
    in_child(without_signals, scene);
}

static void in_a_child_dispatch(const struct scene *scene)
{
    in_child(other_dispatch, scene);
}

static void in_a_child_gate(const struct scene *scene)
{
    in_child(old_gate, scene);
}

extern void ring(const struct scene *scene);
extern void loader(const struct scene *scene);
extern void listener(const struct scene *scene);

const struct trick tricks[] = {
    {"directory-removed", directory_removed},
    {"program-replaced", program_replaced},
    {"program-is-replaced", program_is_replaced},
    {"bind-replaced", bind_replaced},
    {"link-over-bound-file", link_over_bound_file},
    {"victims-files", victims_files},
    {"victims-mappings", victims_mappings},
    {"pidfd_getfd", take_descriptor},
    {"setns", enter_namespaces},
    {"above-what-was-given", above_what_was_given},
    {"open_by_handle_at", open_by_handle},
    {"x32", other_numbers},
    {"int80", in_a_child_gate},
    {"own-text", own_text},
    {"without-signals", in_a_child_signals},
    {"user-dispatch", in_a_child_dispatch},
    {"raw-children", raw_children},
    {"privileged-calls", privileged_calls},
    {"io_uring", ring},
    {"dynamic-loader", loader},
    {"answered-calls", listener},
    {NULL, NULL},
};
