"""Prediction and planning under uncertainty, on JAX.

Each room is imported on its own (`import foresee.filters`), so this page stays light.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("foresee")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
