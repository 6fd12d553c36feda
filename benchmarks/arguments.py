"""The command line that all benchmarks share."""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax


@dataclass
class Options:
    """What the command line of a benchmark says."""

    quick: bool
    peers: tuple[str, ...] | None  # None for all
    out: Path

    @property
    def rounds(self) -> int:
        """Most rounds in which the candidates take turns."""
        return 2 if self.quick else 25

    @property
    def seconds(self) -> float:
        """Time after which a candidate only takes part until it has the fewest rounds."""
        return 0.05 if self.quick else 0.8

    @property
    def fewest(self) -> int:
        """Rounds in which even the slowest candidate takes part."""
        return 1 if self.quick else 2


def options(description: str | None, arguments: Sequence[str] | None = None) -> Options:
    """Read the command line that all benchmarks share, and switch float64 on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: a smoke test whose times mean nothing"
    )
    parser.add_argument("--peers", default="all", help="all, none, or names separated by commas")
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file")
    given = parser.parse_args(arguments)
    peers = {"all": None, "none": ()}.get(given.peers, tuple(given.peers.split(",")))
    folder = Path(__file__).resolve().parent / "results"
    if given.out is None and given.quick:
        folder = Path(tempfile.gettempdir()) / "foresee-bench-quick"
    jax.config.update("jax_enable_x64", True)
    return Options(given.quick, peers, given.out or folder)
