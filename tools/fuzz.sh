#!/usr/bin/env bash
# Coverage-guided fuzzing of the readers of files: text and packed tables with libFuzzer (clang), the file format of tables
# with atheris if it is installed. Failing inputs are stored in tests/fuzz/cases.
#
#   tools/fuzz.sh [seconds per fuzzer]      60 by default
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-g -O1 -std=gnu11 -Icext/include -Icext/kernels -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined)

for name in text tables; do
    echo "== $name"
    clang "${flags[@]}" "tests/fuzz/fuzz_$name.c" cext/src/*.c cext/kernels/*.c -lm -lpthread -o "$work/$name"
    mkdir "$work/$name-corpus"
    "$work/$name" "$work/$name-corpus" "tests/fuzz/cases/$name" -max_total_time="$seconds" -max_len=4096 -timeout=20 -verbosity=0 \
        -artifact_prefix="tests/fuzz/cases/$name/found-"
done
if python -c 'import atheris' 2>/dev/null; then
    echo "== file"
    mkdir "$work/file-corpus"
    python tests/fuzz/fuzz_file.py "$work/file-corpus" tests/fuzz/cases/file -max_total_time="$seconds" -verbosity=0 \
        -artifact_prefix=tests/fuzz/cases/file/found-
fi
