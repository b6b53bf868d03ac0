# A project of 41 files, compiled side by side.
set -e
. /build/tools/project.inc
make -s -j4
./sum_all
touch all.h
make -s -j2
./sum_all
make -q
echo made
