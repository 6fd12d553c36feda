import pytest

from foresee.report.verdict import best_baseline, verdict, verdict_tiles
from tests.contests import world_numbers

LINE = {"scenarios.count": 300, "scenarios.scenes": 8, "scenarios.seeds": 5, "scenarios.modes": ["replay"]}


def numbers(rates, less=None, **more):
    """The summary of a contest in replayed traffic; `less` is how much less often mpur fails than PDM."""
    s = {**LINE, "scenarios.drivers": list(rates), **more}
    for name, rate in rates.items():
        s |= {f"drivers.{name}.replay.fail_rate": rate, f"drivers.{name}.replay.failures": round(300 * rate)}
        s |= {f"drivers.{name}.replay.fail_rate_ci": [max(rate - 0.01, 0.0), rate + 0.01]}
        s |= {f"drivers.{name}.replay.progress": 1.0 if not name.endswith("monitored") else 0.97}
    if less is not None:
        key = "drivers.mpur.replay.fail_rate_less_than_pdm"
        s |= {key: less[0], f"{key}_ci": list(less[1:])}
    return s


@pytest.mark.parametrize(
    ("rates", "less", "words"),
    [
        ((0.03, 0.01), (0.02, 0.005, 0.04), "surely fewer, by 2.0 percentage points [0.5, 4.0]"),
        (
            (0.03, 0.02),
            (0.01, -0.02, 0.04),
            "this run cannot tell: the difference is 1.0 percentage points [−2.0, 4.0]",
        ),
        ((0.01, 0.05), (-0.04, -0.06, -0.01), "surely more, by 4.0 percentage points [1.0, 6.0]"),
        ((0.03, 0.01), (0.02, None, None), "one cannot say how sure"),
        ((0.03, 0.01), None, "**MPUR** fails least"),
    ],
)
def test_how_sure_it_is_who_fails_least(rates, less, words):
    told = " ".join(verdict(numbers(dict(zip(("pdm", "mpur"), rates, strict=True)), less)))
    assert words in told
    assert "3.0" in told or "nobody fails less than **PDM**" in told
    assert "2 drivers" in told
    assert "300 scenarios from 8 scenes" in told
    assert "trained 5 times" in told


def test_who_fails_equally_is_named_and_nobody_who_does_not_drive():
    told = verdict(numbers({"expert": 0.0, "none": 0.0, "pdm": 0.02, "bc": 0.02, "mpur": 0.3}))[1]
    assert "nobody fails less than **PDM**" in told
    assert "BC does as well" in told
    assert "Next is MPUR" in told
    many = {"pdm": 0.1, "idm": 0.0, "bc": 0.0, "vg": 0.0, "mper": 0.0}
    assert "**lane keeper (IDM), BC and 2 others** fail least" in verdict(numbers(many))[1]


def test_what_the_monitor_saves_and_costs():
    s = numbers(
        {"pdm": 0.1, "pdm_monitored": 0.05}, **{"monitor.auroc": 0.9, "monitor.auroc_ci": [0.8, 0.95]}
    )
    told = verdict(s)
    assert "each with and without a monitor" in told[0]
    assert "30\xa0→\xa015 failures in replayed traffic at a mean progress of 1.00\xa0→\xa00.97" in told[-1]
    assert "AUROC of 0.90 [0.80, 0.95]" in told[-1]
    assert not any("The monitor" in each for each in verdict(numbers({"pdm": 0.1})))


def test_the_world_against_the_best_of_the_others():
    s = world_numbers()
    assert best_baseline(s) == "imm"
    (told,) = verdict(s)
    assert "20.0\xa0% less than the best forecast without learning (IMM, 1.25 m)" in told
    assert "held 88.0\xa0% along the road and 88.0\xa0% across" in told
    sure = s | {"world.gain_imm_4s": 0.25, "world.gain_imm_4s_ci": [0.1, 0.4]}
    assert "surely so" in verdict(sure)[0]
    assert "chance" in verdict(sure | {"world.gain_imm_4s_ci": [-0.1, 0.6]})[0]
    assert [tile.value for tile in verdict_tiles(s)] == ["1.00 m", "88.0\xa0%"]


def test_nothing_is_said_of_what_did_not_run():
    assert verdict({}) == verdict_tiles({}) == ()
    assert verdict(numbers({"expert": 0.0, "idm": 0.1})) == ()
