"""The clips of a run for its report, and the pictures of the most telling one."""

from collections.abc import Callable, Sequence
from pathlib import Path

from foresee.jobs.baselines import Baselines, at_a_time, watch
from foresee.report.clip import Clip
from foresee.report.clips import AFTER, between, choose_scenarios, make_clips, most_telling
from foresee.report.frames import write_gif, write_png

GIF, FOLDER = "replay.gif", "frames"
BEFORE, LONGEST = 6.0, 12.0  # a GIF begins so long before a failure, and lasts no longer than this [s]
PER_SECOND = 10.0  # pictures of a GIF
Progress = Callable[[str, float], None]


def clips_of(baselines: Baselines, *, seed: int) -> tuple[Clip, ...]:
    """Choose what to look at, and drive it again where the episodes were too many to be kept."""
    scenarios = baselines.scenarios
    if scenarios is None:
        return ()
    places = choose_scenarios(baselines.evaluations)[: at_a_time(scenarios)]
    seen = [watch(each, places, seed=seed) for each in baselines.evaluations]
    return make_clips(seen, baselines.companions, places)


def draw_pictures(clips: Sequence[Clip], out: Path, *, gif: bool, png: bool, progress: Progress) -> None:
    """Write the most telling clip as a GIF, and one picture of it per second into a folder."""
    if not (gif or png):
        return
    clip = _excerpt(clips[most_telling(clips)])
    if gif:
        progress("gif", 1.0)
        write_gif(clip, out / GIF, every=max(round(1 / (PER_SECOND * clip.dt)), 1))
    if png:
        progress("frames", 1.0)
        (out / FOLDER).mkdir(exist_ok=True)
        for second in range(int((len(clip.x) - 1) * clip.dt) + 1):
            write_png(clip, out / FOLDER / f"{second:02d}.png", second)


def remove_pictures(out: Path) -> None:
    """Take away the pictures of an earlier run; other files in the folder stay."""
    (out / GIF).unlink(missing_ok=True)
    for picture in (out / FOLDER).glob("[0-9][0-9].png"):
        picture.unlink()
    if (out / FOLDER).is_dir() and not any((out / FOLDER).iterdir()):
        (out / FOLDER).rmdir()


def _excerpt(clip: Clip) -> Clip:
    """Keep what leads to the failure, or the beginning."""
    end = (len(clip.x) - 1) * clip.dt
    start = max(end - AFTER - BEFORE, 0.0) if clip.failed else 0.0
    return between(clip, start, min(end, start + LONGEST))
