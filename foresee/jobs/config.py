"""The options of the main job, and the file that says them again."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from foresee import __version__
from foresee.errors import OptionError
from foresee.storage import whole_file

STAGES = ("states", "baselines", "world", "policies")
LEARNED = ("bc", "cw_erm", "mper", "vg", "mpur", "safepathnet")
METHODS = ("pdm", "pdm_expected", *LEARNED, "mpc")
FILE = "config.yaml"
HEAD = f"# foresee {__version__}; the same again: foresee drive --config config.yaml --out FOLDER\n"


@dataclass(frozen=True)
class Options:
    """What a run is to do; every field but these two changes what comes out.

    Attributes:
        recordings: files to read; none: a synthetic recording.
        test: files that are held out to judge drivers with; none: the last part of the recording.
        stages: the first stages of the pipeline that are run.
        methods: the drivers that are made, beside the baselines.
        seed: of everything random.
        seeds: how many times everything that learns is trained.
        budget: minutes of learning, about; None: as long as it takes by default.
        columns: what the file calls its columns.
        frame_rate: frames per second [Hz], where the file only counts frames.
        units: unit of length in the file, "m" or "ft"; None: what its format says.
        world: file of a trained world to use instead of training one.
    """

    recordings: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    stages: tuple[str, ...] = STAGES
    methods: tuple[str, ...] = METHODS
    seed: int = 0
    seeds: int = 1
    budget: float | None = None
    columns: dict[str, str] | None = None
    frame_rate: float | None = None
    units: str | None = None
    world: str | None = None

    def __post_init__(self):
        """Check what can be checked before anything is read."""
        self._check_names("stages", self.stages, STAGES)
        self._check_names("methods", self.methods, METHODS)
        if self.stages != STAGES[: len(self.stages)] or not self.stages:
            raise OptionError(
                f"expected the first of {', '.join(STAGES)}, in this order, got {', '.join(self.stages)!r}"
            )
        if self.seeds < 1:
            raise OptionError(f"expected at least one seed, got {self.seeds}")
        if self.budget is not None and not 0 < self.budget < float("inf"):
            raise OptionError(f"expected a budget in minutes above 0, got {self.budget}")
        if not self.recordings and (self.columns or self.frame_rate is not None or self.units is not None):
            raise OptionError("columns, frame rate and units describe a file, and no recording is named")
        if self.test and not self.recordings:
            raise OptionError("a test recording needs one to learn from, and no recording is named")

    @staticmethod
    def _check_names(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
        for name in names:
            if name not in known:
                raise OptionError(f"expected {what} out of {', '.join(known)}, got {name!r}")

    def lasting(self) -> dict[str, Any]:
        """Return what tells one run from another, whatever stages are run of it."""
        return {name: value for name, value in asdict(self).items() if name != "stages"}


def write_config(path: Path, options: Options) -> None:
    """Write the options as YAML, of the kind that holds JSON behind every name."""
    held = asdict(options)
    for name in ("recordings", "test"):
        held[name] = [str(Path(each).resolve()) for each in held[name]]
    if options.world is not None:
        held["world"] = str(Path(options.world).resolve())
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in held.items()]
    with whole_file(path) as temporary:
        temporary.write_text(HEAD + "".join(lines), encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """Return the options of a file as `write_config` writes it, or part of them.

    Raises:
        OptionError: if a line is no name with a value, or a name is unknown or twice there.
    """
    known = {each.name for each in fields(Options)}
    found: dict[str, Any] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, text = line.partition(":")
        where = f"{path}, line {number}"
        if name not in known or name in found:
            raise OptionError(f"{where}: expected one of {', '.join(sorted(known))}, each once, got {name!r}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            raise OptionError(f"{where}: expected a value as JSON writes it, got {text.strip()!r}") from None
        found[name] = tuple(value) if isinstance(value, list) else value
    return found
