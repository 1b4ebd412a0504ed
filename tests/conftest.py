"""What pytest leaves alone: the fuzzers, which `tools/fuzz.sh` runs and which need what it installs."""

collect_ignore = ["fuzz"]
