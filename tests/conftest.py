"""What every test runs under: one BLAS thread, float64, shapes checked at run time, and haste."""

import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy reads it once, when it is first imported

# Thousands of programs are compiled to run for a moment each: XLA is told to save its own time, not theirs.
# XLA_FLAGS= JAX_DISABLE_MOST_OPTIMIZATIONS=0 make test compiles as users do, at four times the cost.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

if any(name.split(".")[0] == "foresee" for name in sys.modules):
    raise RuntimeError("foresee was imported before the shape checks were switched on")
install_import_hook("foresee", "beartype.beartype")

IN_HASTE = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "0"
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_disable_most_optimizations", IN_HASTE)
gc.set_threshold(50_000, 20, 20)  # tracing makes millions of small objects that live as long as the program

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled():
    """Drop what a module compiled: thousands of compiled functions use up the memory maps of one process."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def optimised():
    """For modules whose programs run for longer than it takes to optimise them."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", IN_HASTE)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recordings, which are not ours to ship; FORESEE_DATA names it if it is elsewhere."""
    folder = Path(os.environ.get("FORESEE_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder}; set FORESEE_DATA to their folder")
    return folder
