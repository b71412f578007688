#!/usr/bin/env bash
# Runs all checks: formatting, lints, documentation, public API, dependencies, and the tests of the
# library, of the command-line tool, of the test servers and of other network stacks, and the
# corpora of the fuzz targets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--install | --allow-missing] [--full]

  --install        first installs the programs that the tests run against: nginx, openssl, curl,
                   strace, valgrind, python3, jsonschema, xmllint and chromium from Debian,
                   mitmproxy from PyPI into target/peers, and the standard libraries of other
                   systems with rustup
  --allow-missing  skips the tests whose programs are missing
  --full           also runs what takes long: ten times as many kills of processes that write, lints
                   for other systems, the inspection build, the tests with ring alone (which the
                   tests of all features use, too), and those of the package to be uploaded

Without --install and --allow-missing a missing program is an error, and nothing is installed.
TEXT
}

# The library is the root package of a workspace.
LIBRARY=(--locked --package pinhold)
TOOL=(--locked --package pinhold-cli)
TESTING=(--locked --package pinhold-testing)
NO_FEATURES=(--no-default-features)
RING_SET=(--no-default-features --features 'ring,hyper,webpki-roots')
# Other network stacks, in a workspace of their own.
STACKS=(--manifest-path tests/stacks/Cargo.toml --target-dir target/stacks)
# The benchmark whose instructions are counted, in a workspace of its own.
GUARD=(--manifest-path benches/guard/Cargo.toml --target-dir target/guard)
# The fuzz targets, in a workspace of their own, without libFuzzer and nightly.
FUZZ=(--locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --no-default-features)
# Code for these systems is checked by clippy; it is not linked and not run.
SYSTEMS=(aarch64-apple-darwin aarch64-apple-ios aarch64-linux-android x86_64-pc-windows-gnu)
# Crates that a client of the library compiles, the library itself included.
MAX_CRATES_DEFAULT=62
MAX_CRATES_NO_FEATURES=32
PROGRAMS=(nginx openssl curl strace valgrind python3 jsonschema xmllint chromium)
# Debian installs servers in folders that are in the path of root only.
export PATH="$PATH:/usr/sbin:/sbin"

# A clean clone has no use for incremental builds and debug information.
if [[ -n ${CI:-} ]]; then
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none
fi

main() {
    local option mode=
    for option in "$@"; do
        case $option in
            --install | --allow-missing) mode=$option ;;
            # The tests read this variable.
            --full) export PINHOLD_FULL=1 ;;
            -h | --help) usage && exit ;;
            *) usage >&2 && exit 2 ;;
        esac
    done
    if [[ $mode == --install ]]; then step 'install programs' 600 install_programs; fi
    require_programs "$mode"

    step 'format' 60 cargo fmt --all --check
    # Tests and packages below are built with `--offline`.
    step 'download' 300 cargo fetch --locked
    step 'dependencies' 60 dependencies
    step 'clippy, all features' 600 \
        cargo clippy "${LIBRARY[@]}" --all-features --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings' \
        step 'documentation' 300 cargo doc "${LIBRARY[@]}" --no-deps --all-features
    if type -P python3 >/dev/null; then step 'public API' 120 tests/public_api.py; fi
    step 'clippy, ring' 300 \
        cargo clippy "${LIBRARY[@]}" "${RING_SET[@]}" --all-targets -- -D warnings
    step 'clippy, reqwest' 300 \
        cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" --features reqwest -- -D warnings
    step 'clippy, bundles' 240 \
        cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" --features bundles -- -D warnings
    step 'clippy, bundles, hyper' 240 \
        cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" --features bundles,hyper -- -D warnings
    step 'clippy, reports' 120 \
        cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" --features reports -- -D warnings
    step 'clippy, health' 120 \
        cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" --features health -- -D warnings
    step 'clippy, self-test' 120 \
        cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" --features self-test -- -D warnings
    step 'clippy, other mechanisms' 300 clippy_mechanisms
    step 'clippy, no features' 120 cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" -- -D warnings
    step 'no provider' 300 no_provider
    step 'tests, default' 900 cargo test "${LIBRARY[@]}"
    if type -P valgrind >/dev/null; then
        step 'instructions, build' 240 cargo bench --locked "${GUARD[@]}" --no-run
        step 'instructions' 60 cargo bench --locked "${GUARD[@]}" -- --guard
    fi
    step 'demo' 120 cargo run "${LIBRARY[@]}" --example demo
    step 'own storage' 120 cargo run "${LIBRARY[@]}" --example own_storage
    step 'tests, all features' 900 cargo test "${LIBRARY[@]}" --all-features
    step 'clippy, command line' 300 cargo clippy "${TOOL[@]}" --all-targets -- -D warnings
    step 'tests, command line' 600 cargo test "${TOOL[@]}"
    step 'clippy, testing' 300 cargo clippy "${TESTING[@]}" --all-targets -- -D warnings
    step 'tests, testing' 600 cargo test "${TESTING[@]}"
    step 'stacks, format' 60 cargo fmt --check --manifest-path tests/stacks/Cargo.toml
    step 'stacks, clippy' 600 \
        cargo clippy --locked "${STACKS[@]}" --all-targets -- -D warnings
    step 'stacks' 600 cargo test --locked "${STACKS[@]}"
    step 'fuzz, format' 60 cargo fmt --check --manifest-path fuzz/Cargo.toml
    step 'fuzz, clippy' 240 cargo clippy "${FUZZ[@]}" --lib --test replay -- -D warnings
    step 'fuzz corpora' 240 cargo test "${FUZZ[@]}"
    step 'packages' 60 cargo package --locked --offline --workspace --no-verify
    if [[ -n ${PINHOLD_FULL:-} ]]; then full; fi
}

# Each of them builds without the others.
clippy_mechanisms() {
    local feature
    for feature in ct direct-trust first-use hsts; do
        cargo clippy "${LIBRARY[@]}" "${NO_FEATURES[@]}" --features "$feature" -- -D warnings
    done
}

# What takes long, or repeats with other features what was tested before.
full() {
    step 'other systems' 300 other_systems
    # RUSTFLAGS apply to every crate: a separate folder keeps the builds of the other steps.
    RUSTFLAGS='--cfg pinhold_debug_overrides' CARGO_TARGET_DIR=target/inspection \
        step 'clippy, inspection build' 300 \
        cargo clippy "${LIBRARY[@]}" "${RING_SET[@]}" -- -D warnings
    RUSTFLAGS='--cfg pinhold_debug_overrides' CARGO_TARGET_DIR=target/inspection \
        step 'inspection build' 600 \
        cargo test "${LIBRARY[@]}" "${RING_SET[@]}" --test debug_overrides
    step 'tests, ring' 900 cargo test "${LIBRARY[@]}" "${RING_SET[@]}"
    step 'clippy, testing, ring' 300 \
        cargo clippy "${TESTING[@]}" "${NO_FEATURES[@]}" --features ring -- -D warnings
    RUSTDOCFLAGS='-D warnings' \
        step 'documentation, testing' 120 cargo doc "${TESTING[@]}" --no-deps
    step 'tests, command line, aws-lc-rs' 600 cargo test "${TOOL[@]}" --features aws-lc-rs
    step 'comparison' 300 cargo check --locked --manifest-path benches/comparison/Cargo.toml \
        --target-dir target/comparison
    step 'packages, build' 600 cargo package --locked --offline --workspace
    step 'tests, package' 900 package_tests
}

# Runs the tests of the library's package outside the repository.
package_tests() {
    local folder
    folder=$(mktemp -d)
    tar -xzf target/package/pinhold-[0-9]*.crate -C "$folder" --strip-components=1
    cargo test --locked --offline --manifest-path "$folder/Cargo.toml" \
        --target-dir target/package/tests
    rm -r "$folder"
}

# step NAME BUDGET COMMAND...: runs a command or a function of this script for at most BUDGET
# seconds. A step that fails or takes longer ends the run.
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
    local seconds=$((SECONDS - begin)) outcome=passed
    case $status in
        0) passed+=1 ;;
        124 | 137) outcome='OVER BUDGET' failed=1 ;;
        *) outcome="FAILED ($status)" failed=1 ;;
    esac
    summary+=$(printf '%-22s %6d s of %4d s   %s' "$name" "$seconds" "$budget" "$outcome")$'\n'
    printf '<== %s: %s after %d s of %d s\n' "$name" "$outcome" "$seconds" "$budget"
    [[ $status == 0 ]] || exit 1
}

# Prints a table of all steps that were begun, however the run ends.
conclude() {
    local status=$?
    # `timeout` forwards the signal to its process group: to compilers and tests, too.
    [[ -z $running ]] || kill "$running" 2>/dev/null || true
    if [[ -n $summary ]]; then
        printf '\n%s' "$summary"
        printf 'total %d s\nsteps: %d passed, %d failed\n' "$SECONDS" "$passed" "$failed"
    fi
    exit "$status"
}

# Fails if a client of the library compiles more crates than it should.
dependencies() {
    local failed=0
    count_crates 'default features' "$MAX_CRATES_DEFAULT" || failed=1
    count_crates 'no features' "$MAX_CRATES_NO_FEATURES" "${NO_FEATURES[@]}" || failed=1
    return "$failed"
}

# count_crates NAME LIMIT OPTION...
count_crates() {
    local name=$1 limit=$2 crates count
    shift 2
    crates=$(cargo tree "${LIBRARY[@]}" --edges normal --prefix none "$@")
    crates=$(cut -d ' ' -f 1,2 <<<"$crates" | sort -u)
    count=$(wc -l <<<"$crates")
    printf '%s: %d crates, at most %d\n' "$name" "$count" "$limit"
    if ((count > limit)); then
        printf '%s\n' "$crates"
        return 1
    fi
}

# Runs what the library does without a crypto provider, and the test of the error it then returns.
no_provider() {
    local output
    cargo test "${LIBRARY[@]}" "${NO_FEATURES[@]}" --lib
    output=$(cargo test "${LIBRARY[@]}" "${NO_FEATURES[@]}" --test validation -- \
        without_a_provider | tee --append /dev/stderr)
    # A filter that matches no test passes, too.
    grep -q 'test result: ok. [1-9]' <<<"$output"
}

# Lints for each system whose standard library is installed.
other_systems() {
    local system installed
    installed=$(rustup target list --installed || true)
    for system in "${SYSTEMS[@]}"; do
        if grep -qx "$system" <<<"$installed"; then
            cargo clippy "${LIBRARY[@]}" --target "$system" "${NO_FEATURES[@]}" \
                --features native-certs,reports,reqwest -- -D warnings
        else
            printf 'skipped, its standard library is not installed: %s\n' "$system"
        fi
    done
}

missing_programs() {
    local program
    for program in "${PROGRAMS[@]}"; do
        command -v "$program" >/dev/null || echo "$program"
    done
    [[ -x target/peers/bin/mitmdump ]] || command -v mitmdump >/dev/null || echo mitmdump
    # Data, not a program: its list of public suffixes in both forms.
    [[ -f /usr/share/publicsuffix/public_suffix_list.dafsa ]] || echo publicsuffix
}

# Sets PINHOLD_REQUIRE_PEERS, by which the tests know whether a missing program fails or skips them.
require_programs() {
    local missing
    missing=$(missing_programs | xargs)
    if [[ $1 == --allow-missing ]]; then
        export PINHOLD_REQUIRE_PEERS=0
        [[ -z $missing ]] || printf 'missing, their tests are skipped: %s\n' "$missing"
        return
    fi
    export PINHOLD_REQUIRE_PEERS=1
    if [[ -n $missing ]]; then
        printf 'missing: %s (--install installs them, --allow-missing skips their tests)\n' \
            "$missing" >&2
        exit 1
    fi
}

install_programs() {
    local missing program packages=()
    missing=$(missing_programs)
    for program in "${PROGRAMS[@]}"; do
        if ! grep -qx "$program" <<<"$missing"; then continue; fi
        case $program in
            jsonschema) packages+=(python3-jsonschema) ;;
            xmllint) packages+=(libxml2-utils) ;;
            *) packages+=("$program") ;;
        esac
    done
    if grep -qx publicsuffix <<<"$missing"; then packages+=(publicsuffix); fi
    # Debian's Python comes without these modules.
    if grep -qx mitmdump <<<"$missing" && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        packages+=(python3-venv)
    fi
    if ((${#packages[@]})); then install_from_debian "${packages[@]}"; fi
    if grep -qx mitmdump <<<"$missing"; then
        install_mitmproxy
    fi
    # The step `other systems` skips those that are not installed.
    timeout 90 rustup target add "${SYSTEMS[@]}" || true
    printf 'was missing: %s\n' "${missing:-nothing}"
}

# Each file that pip uses is known by its hash. pyperclip is published as source only; it is built
# by the setuptools installed first, since pip would load a build environment without hashes.
install_mitmproxy() {
    local install=(target/peers/bin/pip install --quiet --disable-pip-version-check --require-hashes
        --only-binary :all:)
    python3 -m venv --clear target/peers
    "${install[@]}" --requirement tests/peers/build.txt
    "${install[@]}" --no-binary pyperclip --no-build-isolation --use-pep517 \
        --requirement tests/peers/mitmproxy.txt
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
    --step=clippy_mechanisms | --step=dependencies | --step=install_programs | --step=no_provider | \
        --step=other_systems | --step=package_tests)
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
