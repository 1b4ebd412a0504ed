#!/usr/bin/env bash
# Builds the C core for 64-bit ARM by a cross compiler, and runs tests of it under qemu's emulation of a processor.
#
#   tools/test_arm.sh [FOLDER] [pytest arguments]
#
# FOLDER keeps Python, packages and the build for the next run; without one (or with "") they are in a temporary folder.
# By default the tests are those of the kernels, and of the bits that are the same on every processor. Runs on Debian 12 or later, as any user: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross
# qemu-user git python3-pip. Emulation shows what is computed, never how fast.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$PWD
work=${1:-}
shift || true
if [ -z "$work" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work"
work=$(cd "$work" && pwd)
root=$work/root python=$work/venv/bin/python
tests=(tests/native tests/golden/test_digests.py)
# Emulated processes that fork after they had threads may stop for ever.
tests+=(-k "not fork and not processes and not plausible and not child")
# What depends on NumPy is not compared between processors.
for section in models estimates others; do
    tests+=(--deselect "tests/golden/test_digests.py::test_no_bit_has_changed[$section")
done
if [ $# -gt 0 ]; then tests=("$@"); fi

if [ ! -x "$python" ]; then
    # Debian's Python for ARM, unpacked into a folder. apt has a state of its own there: the system's stays as it is.
    mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$root" "$work/venv/bin"
    : >"$work/apt/status"
    arm=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$work/apt")
    arm+=(-o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt" -o Debug::NoLocking=1)
    if [ "$(id -u)" = 0 ]; then arm+=(-o APT::Sandbox::User=root); fi
    apt-get "${arm[@]}" -qq update
    apt-get "${arm[@]}" -qq install --yes --no-install-recommends --download-only python3-minimal libpython3-dev libstdc++6
    for package in "$work"/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    version=$(basename "$(readlink "$root/usr/bin/python3")")

    # A virtual environment whose interpreter is a script: processes that Python starts are emulated too.
    mkdir -p "$work/venv/lib/$version/site-packages"
    printf 'home = %s\ninclude-system-site-packages = false\n' "$root/usr/bin" >"$work/venv/pyvenv.cfg"
    printf '#!/bin/sh\nexec qemu-aarch64 -L %s -0 "$0" %s "$@"\n' "$root" "$root/usr/bin/$version" >"$python"
    chmod +x "$python"
    python3 -m pip download --quiet --no-deps --dest "$work" pip
    "$python" "$(ls "$work"/pip-*.whl)/pip" install --quiet --no-compile pip
    "$python" - "$tree/pyproject.toml" >"$work/requirements.txt" <<'REQUIRED'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)
print(*project["build-system"]["requires"], *project["project"]["dependencies"], "hypothesis", "pytest", "pytest-xdist", sep="\n")
REQUIRED
    "$python" -m pip install --quiet --no-compile -r "$work/requirements.txt"
fi

rm -rf "$work/tree"
mkdir "$work/tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/tree"
cd "$work/tree"
# The compiler is the host's: an emulated Python starts it as it is. Headers of Python are those of the folder.
headers=$(dirname "$(ls "$root"/usr/include/python3.*/Python.h)")
C_INCLUDE_PATH="$headers:$root/usr/include" CC="${CC:-aarch64-linux-gnu-gcc}" LSHSAMPLE_CFLAGS="-Wall -Wextra -Werror" \
    "$python" -m pip install --quiet --no-build-isolation --no-deps -e .
"$python" -m lshsample info
# Emulation leaves flags of the processor behind, for which NumPy warns after products.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} OPENBLAS_NUM_THREADS=1 \
    "$python" -m pytest -q -p no:cacheprovider -W "ignore:.*encountered in matmul:RuntimeWarning" "${tests[@]}"
