# A history with a merge, clones, a second work tree.
set -e
export GIT_AUTHOR_DATE='2001-01-01 00:00 +0000' GIT_COMMITTER_DATE='2001-01-01 00:00 +0000'
git config --global user.name x
git config --global user.email x@example.org
git init -q -b main one
cd one
for n in $(seq 60); do echo $n >f$n; done
git add .
git commit -qm first
git checkout -qb side
git mv f1 g1
ln -s f2 link
git add -A
git commit -qm second
git checkout -q main
echo more >>f3
git commit -qam third
git merge -q -m merged side
git gc -q
git log --oneline --graph
cd ..
git clone -q one two
git -C two fsck --strict >fsck 2>&1
git -C two worktree add -q ../three HEAD~1
ls three | wc -l
git -C two stash list
git -C two status --short
git clone -q file://$PWD/one four
git -C four rev-parse HEAD
