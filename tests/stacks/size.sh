#!/usr/bin/env bash
# What pinhold adds to a stripped release client, in bytes: a table, one line a client.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/size"

# For a hyper client with HTTP/2 and ring; the others are shown beside it.
TARGET=153600
TARGET_DIR=${CARGO_TARGET_DIR:-../../../target/stacks-size}

main() {
    local stack provider part plain pinned
    printf 'size\tname\tbytes\tdelta\ttarget\n'
    for provider in ring aws-lc-rs; do
        for stack in hyper reqwest; do
            plain=$(size "$stack" "$stack,$provider")
            line "$stack $provider" "$plain" 0 -
            for part in static connector pinned; do
                # reqwest takes the configuration.
                if [[ $stack == hyper || $part != connector ]]; then
                    pinned=$(size "$stack" "$stack,$provider,$part")
                    line "$stack $provider $part" "$pinned" $((pinned - plain)) \
                        "$(target "$stack" "$provider")"
                fi
            done
        done
    done
}

# size BIN FEATURES: the bytes of the stripped program.
size() {
    cargo build --quiet --locked --release --target-dir "$TARGET_DIR" --features "$2" --bin "$1" >&2
    stat --format=%s "$TARGET_DIR/release/$1"
}

target() {
    if [[ $1 == hyper && $2 == ring ]]; then echo "$TARGET"; else echo -; fi
}

line() {
    printf "size\t%s\t%d\t%d\t%s\n" "$@"
}

main
