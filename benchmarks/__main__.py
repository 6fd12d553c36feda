"""Run every benchmark in a process of its own and say which gates failed: python -m benchmarks --help."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run all benchmarks, or those named, and return 1 if one of them failed."""
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description="Run the benchmarks one after another.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(names)} (all)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: a smoke test whose times mean nothing"
    )
    parser.add_argument("--peers", default="all", help="all, none, or names separated by commas")
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON files")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(names))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    out = given.out or (
        Path(tempfile.gettempdir()) / "foresee-bench-quick" if given.quick else HERE / "results"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    summary = []
    for name in given.names or names:
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.bench_{name}"]
        command += ["--peers", given.peers, "--out", str(out), *(["--quick"] if given.quick else [])]
        begin = time.monotonic()
        status = subprocess.run(command, cwd=HERE.parent, env=environment, check=False).returncode
        summary.append((name, status, time.monotonic() - begin))
    if out == HERE / "results":
        subprocess.run([sys.executable, "-m", "benchmarks.tables", "--write"], cwd=HERE.parent, check=True)
    print("\nbenchmark        status   gates    seconds")
    for name, status, seconds in summary:
        print(
            f"{name:16} {'ok' if status == 0 else 'FAILED':8} {_gates(out / f'{name}.json'):8} {seconds:7.0f}"
        )
    return int(any(status for _, status, _ in summary))


def _gates(path: Path) -> str:
    if not path.exists():
        return "none"
    gates = json.loads(path.read_text())["gates"]
    return f"{sum(gate['holds'] for gate in gates)}/{len(gates)}"


if __name__ == "__main__":
    sys.exit(main())
