"""What ``bench_tracer`` runs GROMACS in: a Debian root with it, and a box of water to simulate."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.engine_stage import FILES, HOME, ORDINARY, SUITE, Stage, need
from tests.services.sharing import cache_directory, exclusive
from udocker.system.files import remove_tree

SYSTEM = "/srv/water"  # in the root
# SPC water as GROMACS brings it, in a box of 3 nm: 2,600 atoms.
BOX = "3"
TOPOLOGY = """#include "oplsaa.ff/forcefield.itp"
#include "oplsaa.ff/spc.itp"
[ system ]
water
[ molecules ]
"""
SETTINGS = """integrator = md
dt = 0.002
nstlist = 20
nstenergy = 100
nstlog = 1000
coulombtype = PME
rcoulomb = 0.9
rvdw = 0.9
constraints = h-bonds
tcoupl = v-rescale
tc-grps = System
tau-t = 0.5
ref-t = 300
gen-vel = yes
gen-seed = 1
"""
# In the directory of the system. The box is put at rest first: where its pieces meet, atoms are too near.
PREPARATION = f"""set -e
gmx solvate -cs spc216 -box {BOX} {BOX} {BOX} -p topol.top -o made.gro
sed 's/^integrator.*/integrator = steep/; s/^constraints.*//' water.mdp >rest.mdp
echo 'nsteps = 200' >>rest.mdp
gmx grompp -f rest.mdp -c made.gro -p topol.top -o rest.tpr -maxwarn 9
gmx mdrun -s rest.tpr -deffnm rest -ntmpi 1 -ntomp 2
gmx grompp -f water.mdp -c rest.gro -p topol.top -o water.tpr -maxwarn 9
rm -f step*.pdb
"""


def mdrun_stage(stage: Stage) -> Stage:
    """The same stage over the root with GROMACS, which its namespace of mounts shows as well."""
    there = replace(stage, root=_root())
    for source, target in there.binds():
        mount = ["mount", "--rbind", source, f"{there.root}{target}"]
        subprocess.run(["nsenter", f"--mount={there.namespace}", *mount], check=True)
    return there


def _root() -> Path:
    """The root, made if it is missing: that takes two minutes."""
    directory = cache_directory() / "bench-mdrun"
    cached = directory / f"root-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
    with exclusive("bench-mdrun"):
        if not cached.exists():
            directory.mkdir(exist_ok=True)
            for old in directory.iterdir():  # of another recipe, or half made
                remove_tree(old)
            _make(Path(tempfile.mkdtemp(dir=directory)), cached)
    return cached


def _make(scratch: Path, cached: Path) -> None:
    print("bench_tracer: makes a Debian root with GROMACS", file=sys.stderr)
    command = [need("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=minbase", "--include=gromacs"]
    subprocess.run([*command, SUITE, scratch], check=True, stdin=subprocess.DEVNULL)
    system = scratch / SYSTEM[1:]
    system.mkdir()
    (system / "topol.top").write_text(TOPOLOGY)
    (system / "water.mdp").write_text(SETTINGS)
    inside = ["chroot", scratch, "sh", "-c", f"cd {SYSTEM}; {PREPARATION}"]
    result = subprocess.run(inside, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if result.returncode != 0:
        sys.exit(f"bench_tracer: GROMACS prepares nothing: {result.stderr[-2000:]}")
    for target in FILES:
        (scratch / target[1:]).touch()
    (scratch / HOME[1:]).mkdir()
    subprocess.run(["chown", "-R", f"{ORDINARY}:{ORDINARY}", scratch], check=True)
    scratch.chmod(0o755)
    os.rename(scratch, cached)
    shutil.rmtree(cached / "var/cache/apt", ignore_errors=True)
