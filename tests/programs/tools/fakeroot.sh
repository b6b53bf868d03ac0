# Owners and devices that the caller cannot give: a library tells of them, which asks a daemon.
set -e
fakeroot sh -c '
    id -u
    touch file
    chown 12:34 file
    stat -c "%n %u %g" file
    mknod device c 1 3
    stat -c "%n %F %t %T" device
    mkdir directory
    chmod 700 directory
    tar -cf all.tar file device directory
    tar --numeric-owner -tvf all.tar | tr -s " " | cut -d" " -f 1,2,6'
fakeroot -s state sh -c 'touch kept; chown 5:6 kept'
fakeroot -i state stat -c "%n %u %g" kept
