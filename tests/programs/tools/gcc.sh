# The same project at once, with link-time optimisation, static, and as a library.
set -e
. /build/tools/project.inc
gcc -pipe -O2 -flto -o all *.c
./all
gcc -save-temps -static -o all *.c
./all
gcc -c f*.c
ar cr lib.a f*.o
nm lib.a | grep -c ' T '
