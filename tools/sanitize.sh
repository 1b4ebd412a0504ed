#!/usr/bin/env bash
# Builds the C core with sanitizers in a copy of the tree and runs the native tests under them.
#
#   tools/sanitize.sh [address|thread]...     both by default
#
# "address" is AddressSanitizer with UndefinedBehaviorSanitizer. Needs gcc with its sanitizer libraries, and a Python
# environment in which lshsample[test] is installed (its entry points are used; its code is not).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests=(tests/native tests/tables tests/sampling/test_pipeline.py tests/sampling/test_search.py tests/data/test_xc.py)
tests+=(tests/families/test_probing_order.py tests/coding tests/convolution tests/nn/test_coded.py tests/nn/test_row_pass.py)

build() { # name, flags: an in-place build in a copy of the tree
    mkdir "$work/$1"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/$1"
    (cd "$work/$1" && LSHSAMPLE_CFLAGS="-g -O1 -fno-omit-frame-pointer $2" CC=gcc \
        python setup.py --quiet build_ext --inplace >"$work/$1.log" 2>&1) || { tail -n 40 "$work/$1.log"; return 1; }
}

run() { # name, library, options...: the tests in that copy, with the sanitizer loaded before everything
    local name=$1 library
    library=$(gcc -print-file-name="$2")
    shift 2
    (cd "$work/$name" && env "$@" LD_PRELOAD="$library $(gcc -print-file-name=libstdc++.so.6)" PYTHONPATH="$work/$name:$work/$name/plugins" \
        PYTHONMALLOC=malloc OMP_NUM_THREADS=4 OPENBLAS_NUM_THREADS=1 setarch -R python -m pytest -q --capture=sys -p no:cacheprovider \
        -W "ignore::DeprecationWarning" -k "$deselect" "${tests[@]}")
}

for kind in "${@:-address thread}"; do
    for name in $kind; do
        echo "== $name"
        case $name in
        address)
            # Spawned children, memory limits and peaks do not go with a preloaded shadow memory.
            deselect="not processes and not plausible and not peak_of_a_process and not the_limit_holds"
            # Rows may begin at any byte, which the processors served here allow.
            build address "-fsanitize=address,undefined -fno-sanitize=alignment -fno-sanitize-recover=undefined"
            run address libasan.so ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
            ;;
        thread)
            # A child forked from a process with threads is more than ThreadSanitizer follows, and its shadow memory more than
            # the memory limit of a test.
            deselect="not processes and not plausible and not peak_of_a_process and not child and not fork and not the_limit_holds"
            build thread "-fsanitize=thread"
            run thread libtsan.so TSAN_OPTIONS=halt_on_error=1:report_signal_unsafe=0
            ;;
        *)
            echo "usage: $0 [address|thread]..." >&2
            exit 2
            ;;
        esac
    done
done
cd "$root"
