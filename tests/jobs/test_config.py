import pytest

from foresee.errors import OptionError
from foresee.jobs.config import METHODS, STAGES, Options, read_config, write_config


def test_a_file_says_the_options_again(tmp_path):
    options = Options(
        recordings=("a.csv", "ü: b.csv"),
        seeds=2,
        budget=1.5,
        columns={"x": "Local_X"},
        units="ft",
        methods=("pdm", "bc"),
        world="w.eqx",
    )
    write_config(tmp_path / "config.yaml", options)
    text = (tmp_path / "config.yaml").read_text()
    assert text.startswith("# foresee ")
    held = read_config(tmp_path / "config.yaml")
    assert [path.rsplit("/")[-1] for path in held["recordings"]] == ["a.csv", "ü: b.csv"]
    assert all(path.startswith("/") for path in (*held["recordings"], held["world"]))
    again = Options(**held)
    assert again.lasting() | {"recordings": 0, "world": 0} == options.lasting() | {
        "recordings": 0,
        "world": 0,
    }


@pytest.mark.parametrize("line", ["seed 4", "speed: 4", "seed: four", "seed: 1\nseed: 1", "seed:"])
def test_a_line_that_says_nothing_is_named(line, tmp_path):
    (tmp_path / "config.yaml").write_text(f"# first\n\n{line}\n")
    with pytest.raises(OptionError, match=r"config\.yaml, line [34]: expected"):
        read_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ("world",)}, "the first of states"),
        ({"stages": ()}, "the first of states"),
        ({"stages": ("states", "fly")}, "stages out of states"),
        ({"methods": ("bc", "teleport")}, "methods out of pdm"),
        ({"seeds": 0}, "at least one seed"),
        ({"budget": 0.0}, "budget in minutes above 0"),
        ({"frame_rate": 10.0}, "no recording is named"),
        ({"test": ("a.csv",)}, "no recording is named"),
    ],
)
def test_options_that_nothing_can_be_done_with(options, message):
    with pytest.raises(OptionError, match=message):
        Options(**options)


def test_stages_do_not_tell_runs_apart():
    assert Options(stages=STAGES[:2]).lasting() == Options().lasting()
    assert Options(methods=METHODS[:2]).lasting() != Options().lasting()
