"""The errors a user can meet, each naming what was expected and what came."""


class ForeseeError(ValueError):
    """Anything a caller or an input file got wrong; every other exception is a bug in foresee."""


class ShapeError(ForeseeError):
    """An array's shape does not fit the model or belief it was given to."""


class CovarianceError(ForeseeError):
    """A matrix offered as a covariance is not symmetric, not finite or not positive definite."""


class RecordingError(ForeseeError):
    """An input file cannot be read as a recording; the message is one line and names the file."""


class RoadError(ForeseeError):
    """Lanes do not make a road that can be driven on; the message names the lane."""


class WorldError(ForeseeError):
    """Vehicles cannot stand where they were put; the message names them."""


class TrainingError(ForeseeError):
    """There is too little to learn from, or the loss did not stay finite; what was learned before is kept."""


class PosteriorError(ForeseeError):
    """A posterior cannot be made of this model, optimiser state or data; the message says what is missing."""


class CalibrationError(ForeseeError):
    """Predictions or labels that nothing can be calibrated or judged with; the message says why."""


class PlanningError(ForeseeError):
    """Nothing can be planned with this: an empty box, no steps, weights that reward, a system lost."""


class OptionError(ForeseeError):
    """An option has a value that nothing can be done with; the command line ends with status 2."""


class MissingExtraError(ImportError):
    """A feature needs a package that foresee does not install by itself.

    Args:
        package: name of the package that could not be imported.
        extra: the extra of foresee that brings it.
    """

    def __init__(self, package: str, extra: str):
        super().__init__(
            f"{package} is not installed; get it with: pip install 'foresee[{extra}]'", name=package
        )
