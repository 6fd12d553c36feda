import jax.numpy as jnp
import numpy as np
import pytest

from foresee.calibration import AbstractScaler, Isotonic, Platt, Temperature, Vector
from foresee.calibration.stored import KINDS, read_scaler, write_scaler
from foresee.errors import CalibrationError

YES = jnp.asarray(True)
SCALERS = (
    Temperature(jnp.asarray(2.0), YES),
    Vector(jnp.asarray([1.0, 0.5]), jnp.asarray([0.0, 0.3]), YES),
    Platt(jnp.asarray(0.7), jnp.asarray(-0.1), YES),
    Isotonic(jnp.asarray([[-1.0, 1.0]] * 2), jnp.asarray([[0.1, 0.8]] * 2)),
)


class Foreign(AbstractScaler):
    def __call__(self, logits):
        return jnp.asarray(logits)


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda scaler: type(scaler).__name__)
def test_what_was_written_is_read_bit_for_bit(scaler, tmp_path):
    write_scaler(tmp_path / "scaler.npz", scaler)
    again = read_scaler(tmp_path / "scaler.npz")
    assert type(again) is type(scaler)
    logits = np.array([[0.3, -0.2], [2.0, 0.1]])
    np.testing.assert_array_equal(again(logits), scaler(logits))
    assert [path.name for path in tmp_path.iterdir()] == ["scaler.npz"]


def test_every_kind_can_be_stored():
    assert {type(scaler) for scaler in SCALERS} == set(KINDS.values())


def test_other_scalers_and_other_files(tmp_path):
    with pytest.raises(
        CalibrationError, match="expected one of temperature, vector, platt, isotonic, got Foreign"
    ):
        write_scaler(tmp_path / "x.npz", Foreign())
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", method="magic")
    np.savez(tmp_path / "half.npz", method="vector", factor=np.ones(2))
    for name in ("text", "other", "half"):
        with pytest.raises(CalibrationError, match=f"{name}.npz: expected a scaler"):
            read_scaler(tmp_path / f"{name}.npz")
