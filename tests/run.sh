#!/usr/bin/env bash
# Everything that has to hold: formatting, lints, documentation, all tests in all feature sets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--install | --allow-missing]

  --install        first install what the tests with real peers lack: nginx, openssl, curl,
                   strace and valgrind from Debian, mitmproxy from PyPI into target/peers,
                   the standard libraries of other systems by rustup
  --allow-missing  go on where a peer is missing; its tests then pass over themselves

Without either a missing peer is an error, and nothing is installed.
TEXT
}

RING_SET=(--no-default-features --features 'ring,hyper,webpki-roots')
# Other network stacks, a workspace of their own.
STACKS=(--manifest-path tests/stacks/Cargo.toml --target-dir target/stacks)
# What is compiled for them alone is not linked, and not run.
SYSTEMS=(aarch64-apple-darwin aarch64-apple-ios aarch64-linux-android x86_64-pc-windows-gnu)
MITMPROXY='mitmproxy>=11,<13'
# Where Debian keeps servers, in the path of root only.
export PATH="$PATH:/usr/sbin:/sbin"

# A clean clone keeps nothing for the next build, and nobody debugs it.
if [[ -n ${CI:-} ]]; then
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none
fi

main() {
    local mode=${1:-}
    case $#:$mode in
        0: | 1:--allow-missing) ;;
        1:--install) step 'install peers' 600 install_peers ;;
        1:-h | 1:--help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
    require_peers "$mode"

    step 'format' 60 cargo fmt --check
    step 'clippy, all features' 600 \
        cargo clippy --locked --all-features --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings' \
        step 'documentation' 300 cargo doc --locked --no-deps --all-features
    step 'clippy, ring' 300 cargo clippy --locked "${RING_SET[@]}" --all-targets -- -D warnings
    step 'clippy, reqwest' 300 \
        cargo clippy --locked --no-default-features --features reqwest -- -D warnings
    step 'clippy, no features' 120 cargo clippy --locked --no-default-features -- -D warnings
    step 'no provider' 300 \
        cargo test --locked --no-default-features --lib --test verifier -- \
        fingerprint:: format:: without_a_provider
    step 'tests, default' 900 cargo test --locked
    # The flag is another one for every crate: a folder of its own keeps the other steps' builds.
    RUSTFLAGS='--cfg pinhold_debug_overrides' CARGO_TARGET_DIR=target/inspection \
        step 'clippy, inspection build' 300 \
        cargo clippy --locked "${RING_SET[@]}" -- -D warnings
    RUSTFLAGS='--cfg pinhold_debug_overrides' CARGO_TARGET_DIR=target/inspection \
        step 'inspection build' 600 cargo test --locked "${RING_SET[@]}" --test debug_overrides
    if type -P valgrind >/dev/null; then
        step 'instructions' 600 cargo bench --locked --bench verify -- --guard
    fi
    step 'demo' 120 cargo run --locked --example demo
    step 'own storage' 120 cargo run --locked --example own_storage
    step 'tests, all features' 900 cargo test --locked --all-features
    step 'tests, ring' 900 cargo test --locked "${RING_SET[@]}"
    step 'other systems' 300 other_systems
    step 'stacks, format' 60 cargo fmt --check --manifest-path tests/stacks/Cargo.toml
    step 'stacks, clippy' 600 \
        cargo clippy --locked "${STACKS[@]}" --all-targets -- -D warnings
    step 'stacks' 600 cargo test --locked "${STACKS[@]}"
}

# step NAME BUDGET COMMAND...: runs a command or a function of this script for at most BUDGET
# seconds. What fails, or takes longer, ends the run.
step() {
    local name=$1 budget=$2 begin=$SECONDS status=0
    shift 2
    printf '\n==> %s (budget %d s): %s\n' "$name" "$budget" "$*"
    if [[ $(type -t "$1") == function ]]; then
        timeout --kill-after=10 "$budget" bash tests/run.sh "--step=$1" &
    else
        timeout --kill-after=10 "$budget" "$@" &
    fi
    running=$!
    wait "$running" || status=$?
    running=
    local seconds=$((SECONDS - begin)) verdict=passed
    case $status in
        0) passed+=1 ;;
        124 | 137) verdict='OVER BUDGET' failed=1 ;;
        *) verdict="FAILED ($status)" failed=1 ;;
    esac
    summary+=$(printf '%-22s %6d s of %4d s   %s' "$name" "$seconds" "$budget" "$verdict")$'\n'
    printf '<== %s: %s after %d s of %d s\n' "$name" "$verdict" "$seconds" "$budget"
    [[ $status == 0 ]] || exit 1
}

# The table of all steps that were begun, however the run ends.
conclude() {
    local status=$?
    # Its own group, with the compilers and tests below it.
    [[ -z $running ]] || kill "$running" 2>/dev/null || true
    if [[ -n $summary ]]; then
        printf '\n%s' "$summary"
        printf 'total %d s\nsteps: %d passed, %d failed\n' "$SECONDS" "$passed" "$failed"
    fi
    exit "$status"
}

# Lints for each system whose standard library is installed.
other_systems() {
    local system installed
    installed=$(rustup target list --installed || true)
    for system in "${SYSTEMS[@]}"; do
        if grep -qx "$system" <<<"$installed"; then
            cargo clippy --locked --target "$system" --no-default-features \
                --features native-certs,reqwest -- -D warnings
        else
            printf 'not installed, and not looked at: %s\n' "$system"
        fi
    done
}

missing_peers() {
    local peer
    for peer in nginx openssl curl strace valgrind; do
        command -v "$peer" >/dev/null || echo "$peer"
    done
    [[ -x target/peers/bin/mitmdump ]] || command -v mitmdump >/dev/null || echo mitmdump
}

# Tells the tests, by PINHOLD_REQUIRE_PEERS, whether they may pass over themselves.
require_peers() {
    local missing
    missing=$(missing_peers | xargs)
    if [[ $1 == --allow-missing ]]; then
        export PINHOLD_REQUIRE_PEERS=0
        [[ -z $missing ]] || printf 'missing, their tests pass over themselves: %s\n' "$missing"
        return
    fi
    export PINHOLD_REQUIRE_PEERS=1
    if [[ -n $missing ]]; then
        printf 'missing: %s (--install installs, --allow-missing goes on)\n' "$missing" >&2
        exit 1
    fi
}

install_peers() {
    local missing peer packages=()
    missing=$(missing_peers)
    for peer in nginx openssl curl strace valgrind; do
        if grep -qx "$peer" <<<"$missing"; then packages+=("$peer"); fi
    done
    # Debian's Python comes without.
    if grep -qx mitmdump <<<"$missing" && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        packages+=(python3-venv)
    fi
    if ((${#packages[@]})); then install_from_debian "${packages[@]}"; fi
    if grep -qx mitmdump <<<"$missing"; then
        python3 -m venv --clear target/peers
        target/peers/bin/pip install --quiet --disable-pip-version-check "$MITMPROXY"
    fi
    # Without them the step passes over them.
    timeout 90 rustup target add "${SYSTEMS[@]}" || true
    printf 'was missing: %s\n' "${missing:-nothing}"
}

# The tests start nginx themselves, so the service of that name is kept from starting.
install_from_debian() {
    local as_root=() policy=/usr/sbin/policy-rc.d
    ((EUID == 0)) || as_root=(sudo)
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
        # shellcheck disable=SC2064 # the local variables are gone when it runs
        trap "${as_root[*]} rm -f $policy" EXIT
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@"
}

# `timeout` runs programs only, so a function is run by this script again.
case ${1:-} in
    --step=install_peers | --step=other_systems)
        "${1#--step=}"
        exit
        ;;
esac

running='' summary=''
declare -i passed=0 failed=0
trap conclude EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
main "$@"
