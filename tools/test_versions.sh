#!/usr/bin/env bash
# Builds a copy of this tree in a fresh environment, and runs its tests and its command line there.
#
#   tools/test_versions.sh lowest|newest [--python VERSION] [pytest arguments]
#
# "lowest" installs the lowest versions that pyproject.toml allows, of the packages that build it too; "newest" the
# newest of everything. VERSION is 3.11 by default, the lowest that is supported. Needs uv, and gcc or clang.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }
case ${1:-} in
lowest) resolution=lowest-direct ;;
newest) resolution=highest ;;
*) usage ;;
esac
shift
python=3.11
if [ "${1:-}" = --python ]; then
    python=${2:?$(usage)}
    shift 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet --python "$python" "$work/venv"
. "$work/venv/bin/activate"
mkdir "$work/tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/tree"
cd "$work/tree"

# What builds the package is installed with the rest, since an isolated build would take the newest.
python - >"$work/requirements.in" <<'EOF'
import tomllib

with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"], sep="\n")
EOF
uv pip compile --quiet --resolution "$resolution" --extra test pyproject.toml "$work/requirements.in" -o "$work/requirements.txt"
uv pip install --quiet -r "$work/requirements.txt" wheel
uv pip install --quiet --no-build-isolation --no-deps -e .
uv pip list

lshsample --help >"$work/help.txt"
lshsample info
# Old releases warn of newer ones of the packages that they use, which are not named here.
deprecations=error
if [ "$resolution" = lowest-direct ]; then deprecations=ignore; fi
python -m pytest -q -W "$deprecations::DeprecationWarning" "$@"
