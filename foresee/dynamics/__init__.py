"""Motion models and sensors, each a conditional p(y | x, u). Start with `ConstantVelocity` and `Position`."""

from foresee.dynamics.chaos import LyapunovTime, lyapunov_time
from foresee.dynamics.correlated import CorrelatedError
from foresee.dynamics.linear import AbstractLinear, LinearGaussian
from foresee.dynamics.motion import (
    ConstantAcceleration,
    ConstantVelocity,
    CoordinatedTurn,
    SingerAcceleration,
)
from foresee.dynamics.pendulum import Pendulum
from foresee.dynamics.sensor import (
    Components,
    LandmarkRangeBearing,
    Position,
    RangeBearing,
    RangeBearingRate,
    RangeRate,
)
from foresee.dynamics.truck import TruckTrailer
from foresee.dynamics.vehicle import KinematicBicycle, VehicleMotion, steering_curvature

__all__ = [
    "AbstractLinear",
    "Components",
    "ConstantAcceleration",
    "ConstantVelocity",
    "CoordinatedTurn",
    "CorrelatedError",
    "KinematicBicycle",
    "LandmarkRangeBearing",
    "LinearGaussian",
    "LyapunovTime",
    "Pendulum",
    "Position",
    "RangeBearing",
    "RangeBearingRate",
    "RangeRate",
    "SingerAcceleration",
    "TruckTrailer",
    "VehicleMotion",
    "lyapunov_time",
    "steering_curvature",
]
