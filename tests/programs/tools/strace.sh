# A tracer inside follows a shell and its children.
strace -f -o trace -e trace=execve sh -c 'cat /etc/passwd | wc -l >/dev/null; exit 3'; echo $?
grep -c execve trace >/dev/null && grep -o 'exited with 3' trace
