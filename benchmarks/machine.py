"""What figures depend on besides the code, and how they are written down."""

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

CORE = ("foresee", "jax", "jaxlib", "equinox", "numpy", "scipy")
PEERS = (
    "casadi",
    "cuthbert",
    "dynamax",
    "filterpy",
    "kalman-py",
    "laplace-torch",
    "netcal",
    "networkx",
    "numba",
    "numpyro",
    "ompl",
    "particles",
    "pathfinding",
    "pykalman",
    "rustworkx",
    "scikit-image",
    "scikit-learn",
    "simdkalman",
    "smcx",
)
PACKAGES = (*CORE, *PEERS, "stonesoup", "torch", "torch-kf")


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the software."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else ""
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "device": jax.devices()[0].platform,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Return the versions of every installed package that takes part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_json(path: Path, content: dict) -> Path:
    """Write a JSON file completely or not at all."""
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: no infinities, shortened floats."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else str(value)
    return value
