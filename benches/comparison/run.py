#!/usr/bin/env python3
"""Compares clients with and without pins, and curl, in one run against one server on loopback.

Prints one line for each figure and draws src/guide/comparison.svg. All clients trust one CA file.
Every round runs each client once; figures are medians. Needs curl and openssl from Debian.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "comparison"
SVG = ROOT / "src/guide/comparison.svg"
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 41
LOAD_ROUNDS = max(ROUNDS // 4, 3)
CONNECTIONS, REQUESTS = 200, 2000
TARGETS = {"tool/cpu": 0.5, "tool/wall": 0.7}


def build(arguments, target):
    command = ["cargo", "build", "--quiet", "--locked", "--release", *arguments]
    subprocess.run(command + ["--target-dir", str(target)], check=True, cwd=ROOT)
    return target / "release"


def programs():
    """Builds the clients with each crypto library, and the tool; returns their folders."""
    manifest = ["--manifest-path", str(HERE / "Cargo.toml"), "--features"]
    ring = build([*manifest, "ring"], TARGET / "ring")
    aws = build([*manifest, "aws-lc-rs"], TARGET / "aws-lc-rs")
    return ring, aws, build(["-p", "pinhold-cli"], TARGET / "tool")


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], check=True, cwd=cwd, capture_output=True)


def certificates(folder):
    """Makes a CA and a P-256 leaf for localhost; returns the pin of the leaf's key."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=CA",
            "-days", "30", cwd=folder)
    openssl("req", *key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf", cwd=folder)
    (folder / "ext").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "leaf.pem", "-days", "30", "-extfile", "ext", cwd=folder)
    pin = "openssl pkey -in leaf.key -pubout -outform DER | openssl dgst -sha256 -binary | base64"
    return subprocess.check_output(pin, shell=True, cwd=folder, text=True).strip()


def run(command, environment=None):
    """Runs a client; returns its CPU and wall time in seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = status
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return usage.ru_utime + usage.ru_stime, wall


def measure(commands, rounds):
    """Runs each command once per round, in rotating order; returns its times per round."""
    times = {name: [] for name in commands}
    names = list(commands)
    for turn in range(rounds + 1):
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            times[name].append(run(*commands[name]))
    # The first round reads the programs from disk.
    return {name: all[1:] for name, all in times.items()}


def ratios(times, base):
    """Returns the medians of the ratios of CPU and wall time to `base` in the same round."""
    pair = lambda name, part: median(a[part] / b[part] for a, b in zip(times[name], times[base]))
    return {name: (pair(name, 0), pair(name, 1)) for name in times}


def line(name, value, unit):
    target = TARGETS.get(name)
    verdict = "" if target is None else f"\t<={target}" + (" missed" if value > target else "")
    print(f"comparison\t{name}\t{value:.3f}\t{unit}{verdict}", flush=True)


def client_commands(folders, ca, pin, url):
    ring, aws, _ = folders
    one_ca = dict(os.environ, SSL_CERT_FILE=str(ca))
    one_ca.pop("SSL_CERT_DIR", None)
    clients = {
        "pinhold, ring": ring / "pinhold",
        "pinhold, aws-lc-rs": aws / "pinhold",
        "hyper-rustls, ring": ring / "hyper-rustls",
        "hyper-rustls, aws-lc-rs": aws / "hyper-rustls",
        "reqwest, default": aws / "reqwest",
    }

    def commands(count, mode):
        all = {}
        for name, program in clients.items():
            all[name] = ([program, url, ca, f"sha256/{pin}", str(count), mode], one_ca)
        close = ["-H", "Connection: close"] if mode == "new" else []
        all["curl"] = (["curl", "-s", "--cacert", ca, *close, f"{url}[1-{count}]"],)
        return all

    return clients, commands


def rates(commands, count, mode):
    """Returns operations per second of the client's CPU time, without the start of the process.

    The server and other programs share the machine, so wall time would measure them, too.
    """
    both = {(name, many): command for many in (False, True)
            for name, command in commands(count + 1 if many else 1, mode).items()}
    times = measure(both, LOAD_ROUNDS)
    cpu = lambda name, many: [cpu for cpu, _ in times[name, many]]
    return {name: count / median(b - a for a, b in zip(cpu(name, False), cpu(name, True)))
            for name, many in both if many}


def bytes_of(program):
    """Returns the size of a program and, for curl, of its libraries except the C library."""
    size = os.stat(program).st_size
    if Path(program).name == "curl":
        for entry in subprocess.check_output(["ldd", program], text=True).splitlines():
            library = entry.split("=>")[-1].split()[0]
            if library.startswith("/") and Path(library).name.split(".")[0] not in C_LIBRARY:
                size += os.stat(library).st_size
    return size


C_LIBRARY = {"libc", "libm", "libpthread", "libdl", "ld-linux-x86-64"}


def tool(program, ca, pin, url):
    times = measure({
        "curl": (["curl", "-s", "--cacert", ca, "--pinnedpubkey", f"sha256//{pin}", url],),
        "tool": ([program, "get", url, "--ca", ca, "--pin", f"sha256/{pin}"],),
    }, ROUNDS)
    cpu, wall = ratios(times, "curl")["tool"]
    for name in times:
        line(f"{name}/cpu-ms", 1e3 * median(cpu for cpu, _ in times[name]), "ms")
        line(f"{name}/wall-ms", 1e3 * median(wall for _, wall in times[name]), "ms")
    line("tool/cpu", cpu, "of curl")
    line("tool/wall", wall, "of curl")


def main():
    folders = programs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pin = certificates(folder)
        ca = folder / "ca.pem"
        server = [folders[0] / "server", folder / "leaf.pem", folder / "leaf.key"]
        server = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
        try:
            url = f"https://localhost:{int(server.stdout.readline())}/"
            tool(folders[2] / "pinhold", ca, pin, url)
            figures = compare(folders, ca, pin, url)
        finally:
            server.kill()
    SVG.write_text(svg(figures))


def compare(folders, ca, pin, url):
    clients, commands = client_commands(folders, ca, pin, url)
    base = "hyper-rustls, ring"
    first = measure(commands(1, "new"), ROUNDS)
    cpu = {name: ratio for name, (ratio, _) in ratios(first, base).items()}
    for name, times in first.items():
        line(f"first request/{name}", 1e3 * median(cpu for cpu, _ in times), "ms of CPU")
    figures = {"CPU of a process with one request": cpu}
    for title, count, mode in [("New connections per second of CPU", CONNECTIONS, "new"),
                               ("Kept-alive requests per second of CPU", REQUESTS, "kept")]:
        found = rates(commands, count, mode)
        for name, rate in found.items():
            line(f"{title.lower()}/{name}", rate, "per s of CPU")
        figures[title] = {name: rate / found[base] for name, rate in found.items()}
    paths = dict(clients, curl="/usr/bin/curl")
    sizes = {name: bytes_of(path) for name, path in paths.items()}
    for name, size in sizes.items():
        line(f"program/{name}", size, "bytes")
    figures["Bytes of program (curl: with its libraries)"] = {
        name: size / sizes[base] for name, size in sizes.items()}
    return figures


def svg(figures):
    """Draws one group of bars for each figure. The axis is logarithmic, 1 is the base."""
    import math
    left, width, row, y = 150, 360, 14, 44
    x = lambda ratio: left + width * (math.log2(max(ratio, 1 / 4)) + 2) / 6
    parts = []
    for title, values in figures.items():
        parts.append(f'<text x="4" y="{y}" font-weight="bold">{title}</text>')
        for name, ratio in values.items():
            y += row
            colour = "#2a7ab8" if name.startswith("pinhold") else "#888"
            begin, end = sorted([x(1), x(ratio)])
            parts.append(f'<text x="4" y="{y}">{name}</text><rect x="{begin:.0f}" y="{y - 9}" '
                         f'width="{max(end - begin, 1):.0f}" height="10" fill="{colour}"/>'
                         f'<text x="{end + 4:.0f}" y="{y}">{ratio:.2f}</text>')
        y += 24
    ticks = "".join(
        f'<path d="M{x(t):.0f} 26V{y - 18}" stroke="#888" stroke-opacity=".4"/>'
        f'<text x="{x(t):.0f}" y="{y - 6}" text-anchor="middle">{t:g}</text>'
        for t in (0.25, 0.5, 1, 2, 4, 8, 16))
    when = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {platform.machine()}, loopback"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 {y + 4}" width="560" '
            'role="img" font-family="sans-serif" font-size="11" fill="currentColor">'
            f'<title>Ratios to hyper-rustls with ring</title><text x="4" y="14">Ratio to '
            f'hyper-rustls with ring, without pins (logarithmic). {when}</text>{ticks}'
            f'{"".join(parts)}</svg>\n')


if __name__ == "__main__":
    main()
