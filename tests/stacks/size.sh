#!/usr/bin/env bash
# Measures what pinhold adds to a stripped release client, in bytes. Prints one line for each
# client.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/size"

# The limit for a hyper client with HTTP/2 and ring; the other clients have none.
TARGET=153600
TARGET_DIR=${CARGO_TARGET_DIR:-../../../target/stacks-size}

main() {
    local stack provider part plain pinned
    printf 'size\tname\tbytes\tdelta\ttarget\n'
    for provider in ring aws-lc-rs; do
        for stack in hyper reqwest; do
            plain=$(size "$stack" "$stack,$provider")
            line "$stack $provider" "$plain" 0 -
            for part in static pin-file bundles self-test connector pinned health; do
                # The connector is not for reqwest.
                if [[ $stack == hyper || $part != connector ]]; then
                    pinned=$(size "$stack" "$stack,$provider,$part")
                    line "$stack $provider $part" "$pinned" $((pinned - plain)) \
                        "$(target "$stack" "$provider")"
                fi
            done
        done
    done
}

# size BIN FEATURES: the size of the stripped program in bytes.
size() {
    cargo build --quiet --locked --release --target-dir "$TARGET_DIR" --features "$2" --bin "$1" >&2 &&
        stat --format=%s "$TARGET_DIR/release/$1"
}

target() {
    if [[ $1 == hyper && $2 == ring ]]; then echo "$TARGET"; else echo -; fi
}

line() {
    printf "size\t%s\t%d\t%d\t%s\n" "$@"
}

main
