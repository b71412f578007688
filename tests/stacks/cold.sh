#!/usr/bin/env bash
# Measures the cold start of a client with pins: medians of new processes, in microseconds. Prints
# one line for each step.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/size"

RUNS=${1:-21}
TARGET_DIR=${CARGO_TARGET_DIR:-../../../target/stacks-size}

main() {
    printf 'cold\tname\tstep\tcpu us\twall us\n'
    measure ring ring
    measure aws-lc-rs aws-lc-rs
    measure 'aws-lc-rs warmed' aws-lc-rs warmed
    # Another folder, because cargo does not rebuild a C library if only a variable changes.
    TARGET_DIR+=-no-jitter AWS_LC_SYS_NO_JITTER_ENTROPY=1 measure 'aws-lc-rs no-jitter' aws-lc-rs
}

# measure NAME PROVIDER [ARGUMENT]
measure() {
    local step runs
    # Optimized for speed, because this measures time.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_LTO=thin \
        cargo build --quiet --locked --release --target-dir "$TARGET_DIR" \
        --features "cold,pinned,$2" --bin cold >&2
    runs=$(for ((run = 0; run < RUNS; run++)); do "$TARGET_DIR/release/cold" "${3:-}"; done)
    for step in client hello handshake; do
        printf 'cold\t%s\t%s\t%s\t%s\n' "$1" "$step" \
            "$(median "$step" 2 <<<"$runs")" "$(median "$step" 3 <<<"$runs")"
    done
}

# median STEP COLUMN: the median of the lines on standard input.
median() {
    awk -F'\t' -v step="$1" -v column="$2" '$1 == step { print $column }' |
        sort -n | sed -n "$((RUNS / 2 + 1))p"
}

main
