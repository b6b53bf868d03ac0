/* Who the process is, where it is somebody else than the caller: root/root.h has the rules.
 *
 * Threads share what is kept here, as C libraries see to with the kernel's.  A child that shares our memory and is a
 * process of its own (vfork(2), posix_spawn(3)) must not change what its parent is: it has a place of its own.
 */

#include <errno.h>
#include <linux/kcmp.h>
#include <sys/socket.h>

#include "trap.h"

enum { GUESTS = 8, AUDIT = 9 /* NETLINK_AUDIT */ };

struct user {
    int process; /* 0 for a place that nobody has */
    struct root_ids ids;
};

static struct user own, guests[GUESTS];
static unsigned next_guest;
static struct root_host host;

static struct user *guest_find(int process)
{
    for (int i = 0; i < GUESTS; i++)
        if (guests[i].process == process)
            return &guests[i];
    return NULL;
}

static bool shares_memory(int process, int parent)
{
    return sys_call5(SYS_kcmp, process, parent, KCMP_VM, 0, 0) == 0;
}

/* Numbers come again: the place may be of a child that is no more, and the process a later one with memory of its own. */
static struct user *guest_here(int process)
{
    struct user *guest = guest_find(process);
    return guest && sys_call5(SYS_kcmp, process, own.process, KCMP_VM, 0, 0) > 0 ? NULL : guest;
}

/* Of a process that has not been here: a new one's memory is a copy of its parent's, and `own` may be the parent's own
 * parent's. */
static struct root_ids *newcomer(int process, bool changes)
{
    int parent = (int)sys_call0(SYS_getppid);
    struct user *of_parent = guest_find(parent);
    if (own.process != 0 && shares_memory(process, parent)) {
        struct root_ids *now = of_parent ? &of_parent->ids : &own.ids;
        if (!changes)
            return now;
        struct user *guest = &guests[__atomic_fetch_add(&next_guest, 1, __ATOMIC_RELAXED) % GUESTS];
        guest->ids = *now;
        guest->process = process;
        return &guest->ids;
    }
    if (own.process != parent && of_parent)
        own.ids = of_parent->ids;
    own.process = process;
    for (int i = 0; i < GUESTS; i++)
        guests[i].process = 0;
    return &own.ids;
}

static struct root_ids *ids_of(bool changes)
{
    int process = (int)sys_call0(SYS_getpid);
    if (own.process == process)
        return &own.ids;
    struct user *guest = guest_here(process);
    return guest ? &guest->ids : newcomer(process, changes);
}

const struct root_ids *users_ids(void)
{
    return ids_of(false);
}

const struct root_host *users_host(void)
{
    return &host;
}

void users_begin(uint32_t uid, uint32_t gid, const struct stat *root)
{
    host = (struct root_host){
        {(uint32_t)sys_call0(SYS_geteuid), root->st_uid},
        {(uint32_t)sys_call0(SYS_getegid), root->st_gid},
    };
    root_ids_start(&own.ids, uid, gid);
    own.process = (int)sys_call0(SYS_getpid);
    engine.root = true;
}

/* ---- over execve ---- */

size_t users_write(const struct stat *program, char text[ROOT_IDS_TEXT])
{
    struct root_ids ids = *ids_of(false);
    root_ids_exec(&ids, program->st_mode, program->st_uid, program->st_gid);
    return root_ids_write(&ids, &host, text);
}

int users_read(const char *text)
{
    int used = root_ids_read(&own.ids, &host, text);
    own.process = (int)sys_call0(SYS_getpid);
    engine.root = used > 0;
    return used;
}

/* ---- calls ---- */

static int memory_read(void *context, void *target, uint64_t address, size_t size)
{
    (void)context;
    return user_read(target, (const void *)(uintptr_t)address, size);
}

static int memory_write(void *context, uint64_t address, const void *source, size_t size)
{
    (void)context;
    return user_write((void *)(uintptr_t)address, source, size);
}

/* Programs that are root insist on writing to the kernel's audit, which would refuse them, unless it has none. */
static long socket_make(const struct trapped *call)
{
    bool is_audit = (int)call->arguments[0] == AF_NETLINK && (int)call->arguments[2] == AUDIT;
    return is_audit ? -EPROTONOSUPPORT : reissue(call);
}

/* SO_PEERCRED of socket(7): whoever is the caller to the host has begun as root here. */
static long option_get(const struct trapped *call)
{
    const long *a = call->arguments;
    struct ucred peer;
    socklen_t size;
    long result = reissue(call);
    if (result != 0 || (int)a[1] != SOL_SOCKET || (int)a[2] != SO_PEERCRED)
        return result;
    if (user_read(&size, (const void *)a[4], sizeof size) < 0 || size < sizeof peer ||
        user_read(&peer, (const void *)a[3], sizeof peer) < 0)
        return 0; /* less was asked for */
    if (peer.uid == host.uid[0])
        peer.uid = 0;
    if (peer.gid == host.gid[0])
        peer.gid = 0;
    return user_write((void *)a[3], &peer, sizeof peer);
}

static const struct {
    short number;
    long (*make)(const struct trapped *call);
} OTHERS[] = {
    {SYS_socket, socket_make},
    {SYS_getsockopt, option_get},
};
enum { OTHERS_COUNT = sizeof OTHERS / sizeof *OTHERS };

short users_call_number(size_t place)
{
    if (place < root_id_call_count)
        return root_id_calls[place];
    place -= root_id_call_count;
    return place < OTHERS_COUNT ? OTHERS[place].number : -1;
}

static bool is_question(long number)
{
    return number == SYS_getuid || number == SYS_geteuid || number == SYS_getgid || number == SYS_getegid ||
           number == SYS_getresuid || number == SYS_getresgid || number == SYS_getgroups || number == SYS_capget;
}

bool users_call(const struct trapped *call, long *result)
{
    for (size_t i = 0; i < OTHERS_COUNT; i++)
        if (OTHERS[i].number == call->number) {
            *result = OTHERS[i].make(call);
            return true;
        }
    for (size_t i = 0; i < root_id_call_count; i++) {
        if (root_id_calls[i] != call->number)
            continue;
        struct root_caller caller = {(int)sys_call0(SYS_getpid), (int)sys_call0(SYS_gettid), memory_read, memory_write,
                                     NULL};
        *result = root_id_call(ids_of(!is_question(call->number)), &caller, call->number, call->arguments);
        if (*result == ROOT_OTHER)
            *result = reissue(call);
        return true;
    }
    return false;
}
