"""The table of calls that take a path, against the kernel's headers of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TABLE = Path(__file__).resolve().parents[2] / "udocker" / "native" / "path" / "calls.def"
HEADERS = [
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm/unistd_64.h"),
]
ENTRY = re.compile(r"^CALL\((\w+), (\w+), (-?\d), (-?\d), (-?\d), (\w+), ([A-Z| 0]+)\)$", re.MULTILINE)

# Every other call of x86-64 up to Linux 6.17: none takes a path.  A call that is in neither list must be
# looked at, and put into one of them.
WITHOUT_PATHS = """
_sysctl add_key adjtimex afs_syscall alarm arch_prctl bpf brk cachestat capget capset clock_adjtime
clock_getres clock_gettime clock_nanosleep clock_settime clone clone3 close close_range copy_file_range
create_module delete_module dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait
epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 exit exit_group fadvise64 fallocate fanotify_init
fchdir fchmod fchown fcntl fdatasync fgetxattr finit_module flistxattr flock fork fremovexattr fsconfig
fsetxattr fsmount fsopen fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv
futex_wake get_kernel_syms get_mempolicy get_robust_list get_thread_area getcpu getdents getdents64 getegid
geteuid getgid getgroups getitimer getpgid getpgrp getpid getpmsg getppid getpriority getrandom getresgid
getresuid getrlimit getrusage getsid getsockopt gettid gettimeofday getuid init_module inotify_init
inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
io_uring_enter io_uring_register io_uring_setup ioctl ioperm iopl ioprio_get ioprio_set kcmp
kexec_file_load kexec_load keyctl kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
listen listmount listns lookup_dcookie lseek lsm_get_self_attr lsm_list_modules lsm_set_self_attr madvise
map_shadow_stack mbind membarrier memfd_create memfd_secret migrate_pages mincore mlock mlock2 mlockall
mmap modify_ldt move_pages mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep nfsservctl
open_by_handle_at pause perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2
pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_madvise
process_mrelease process_vm_readv process_vm_writev pselect6 ptrace putpmsg pwrite64 pwritev pwritev2
query_module quotactl_fd read readahead readv reboot remap_file_pages request_key restart_syscall rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp security select semctl semget semop semtimedop sendfile
set_mempolicy set_mempolicy_home_node set_robust_list set_thread_area set_tid_address setdomainname
setfsgid setfsuid setgid setgroups sethostname setitimer setns setpgid setpriority setregid setresgid
setresuid setreuid setrlimit setsid setsockopt settimeofday setuid shmat shmctl shmdt shmget shutdown
sigaltstack signalfd signalfd4 socket socketpair splice statmount sync sync_file_range syncfs sysfs sysinfo
syslog tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime times tkill tuxcall umask uname unshare uprobe uretprobe
userfaultfd ustat vfork vhangup vmsplice vserver wait4 waitid write writev
""".split()  # noqa: SIM905 - lines of words read better than a line each


def entries() -> list[tuple[str, ...]]:
    return [match.groups() for match in ENTRY.finditer(TABLE.read_text())]


def test_every_line_of_the_table_is_read() -> None:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("CALL(")]
    assert len(lines) == len(entries()) > 70


def test_no_call_is_in_the_table_twice_or_in_both_lists() -> None:
    names = [entry[0] for entry in entries()]
    assert len(set(names)) == len(names)
    assert not set(names) & set(WITHOUT_PATHS)


def test_every_call_of_the_kernels_headers_is_known() -> None:
    header = next((path for path in HEADERS if path.is_file()), None)
    if header is None:
        pytest.skip("needs the kernel's headers for x86-64: apt-get install linux-libc-dev")
    names = set(re.findall(r"__NR_(\w+)", header.read_text()))
    assert len(names) > 300
    assert names - {entry[0] for entry in entries()} - set(WITHOUT_PATHS) == set()


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry[0])
def test_an_entry_makes_sense(entry: tuple[str, ...]) -> None:
    _, shape, dirfd, path, flags, bit, traits = entry
    words = set(traits.replace(" ", "").split("|"))
    if shape == "GETCWD":
        assert (path, traits) == ("-1", "0")
        return
    assert len(words & {"FOLLOWS", "KEEPS"}) == 1
    assert (flags == "-1") or bit != "0" or shape == "OPEN"
    if dirfd != "-1":
        assert int(path) == int(dirfd) + 1
