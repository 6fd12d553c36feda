import base64
import hashlib
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from foresee.report.boards import Board, Cell, Row
from foresee.report.page import Page, Section
from foresee.report.player import Clip, Player

NASTY = "</script><script>document.title='broken'</script><!--&\"'\u2028"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def page(*clips):
    rows = [Row(name, (Cell("?", value=value),)) for name, value in (("a", 2.0), ("b", None), ("c", 1.0))]
    board = Board(("who", "how much"), tuple(rows))
    return Page("t", "s", (Section("Replay", (Player(clips), board)),)).html()


def find(pattern, text):
    """The only group of a pattern, where it is first found."""
    return re.findall(pattern, text, re.DOTALL)[0]


# What a reader would do, and what is then to be seen; runs inside the page.
WATCH = """
const seen = {errors: []};
// nothing is painted, so there are no frames to wait for
window.requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 16);
addEventListener("error", (event) => seen.errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => seen.errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => seen.errors.push(event.violatedDirective));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const root = () => document.querySelector("figure.replay");
const state = () => [Number(root().dataset.clip), Number(root().dataset.time)];
async function press(key, more = {}) {
  root().querySelector("canvas").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, ...more}));
  await wait(50);
}
const note = (name) => { seen[name] = state(); };
const pixel = (x, y) => [...root().querySelector("canvas").getContext("2d").getImageData(x, y, 1, 1).data];
addEventListener("load", async () => {
  for (let i = 0; i < 100 && !("ready" in (root()?.dataset ?? {})); i++) await wait(20);
  await read();
  seen.title = document.title;
  document.documentElement.dataset.seen = JSON.stringify(seen);
});
"""
READER = (
    WATCH
    + """
async function read() {
  note("start");
  const canvas = root().querySelector("canvas");
  seen.ego = pixel(canvas.width / 2 - 6, canvas.height / 2);
  await press("ArrowRight"); note("frame on");
  await press("ArrowLeft", {shiftKey: true}); note("second back");
  await press("d"); note("next driver");
  await press("m"); note("next mode");
  await press("End"); note("end");
  await press("Home"); note("home");
  await press("]"); await press(" "); await wait(1000); await press(" "); note("played");
  await press("b"); seen.beliefs = root().querySelector('[data-show="beliefs"]').getAttribute("aria-pressed");
  const picture = () => canvas.toDataURL(), shown = picture();
  await press("a"); seen.hidden = picture() !== shown; await press("a"); seen.back = picture() === shown;
  const names = () => [...document.querySelectorAll("tbody th")].map((one) => one.textContent).join("");
  const sort = document.querySelector("thead button");
  seen.rows = [0, 1, 2].map(() => { sort.click(); return names(); });
  await press("f"); seen.road = location.hash;
  await press("+"); await press("-"); await press("?"); seen.help = root().querySelector("dialog").open;
  root().querySelector("dialog").close();
  await press("n"); note("next clip");
  const selects = root().querySelectorAll("select");
  selects[0].value = "pdm"; selects[0].dispatchEvent(new Event("change")); await wait(50);
  note("filtered"); seen.summary = root().querySelector("summary").textContent;
  seen.wide = document.documentElement.scrollWidth <= innerWidth;
  seen.unnamed = [...root().querySelectorAll("button,select,input,canvas")].filter((one) =>
    !one.ariaLabel && !one.textContent.trim() && !one.closest("label") && !one.ariaHidden).length;
}
"""
)
# Walks through the clips and tries everything on each.
WALKER = (
    WATCH
    + """
async function read() {
  seen.clips = [];
  for (const clip of root().querySelectorAll(".replay-list button")) {
    for (const key of "End ArrowLeft Home ArrowRight o f + b b t e d m n".split(" ")) await press(key);
    await press(" "); await wait(200);
    seen.clips.push(state()[0]);
  }
}
"""
)


def browse(tmp_path, text, address, *options):
    """Open a page in Chromium and return the document it became."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += [
        "--virtual-time-budget=20000",
        "--dump-dom",
        *options,
        f"file://{tmp_path}/page.html{address}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return result.stdout


def watch(folder, text, script, address):
    """Open a page together with a script that notes what it sees."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
    text = text.replace("<body>", f"<body><script>{script}</script>")
    document = browse(folder, text, address, "--window-size=1280,900")
    return json.loads(html.unescape(find('data-seen="(.*?)"', document)))


@pytest.fixture(scope="module")
def seen(make_clip, tmp_path_factory):
    drivers = [
        make_clip(driver, mode, scenario, failed=driver == NASTY)
        for scenario in ("jam", NASTY)
        for driver in (NASTY, "pdm")
        for mode in ("replay", "reactive")
    ]
    return watch(tmp_path_factory.mktemp("browser"), page(*drivers), READER, "#clip=2&t=3.2")


def test_nothing_goes_wrong_in_a_browser(seen):
    assert seen["errors"] == []
    assert seen["title"] == "t"
    assert seen["unnamed"] == 0


def test_an_address_leads_to_a_moment(seen):
    assert seen["start"] == [2, 3.2]
    assert seen["ego"][2] > seen["ego"][0] + 80  # blue in the middle of the picture


def test_keys_move_in_time(seen):
    assert seen["frame on"] == [2, 3.3]
    assert seen["second back"] == [2, 2.3]
    assert seen["end"][1] == 5.0
    assert seen["home"][1] == 0.0
    assert 1.5 < seen["played"][1] < 2.7  # one second at twice the speed


def test_another_driver_is_seen_at_the_same_moment(seen):
    assert seen["next driver"] == [4, 2.3]
    assert seen["next mode"] == [3, 2.3]


def test_views_filters_and_help(seen):
    assert seen["beliefs"] == "false"
    assert seen["help"]
    assert seen["wide"]
    assert seen["road"].endswith("&view=road")
    assert seen["filtered"][0] in (3, 4, 7, 8)
    assert seen["summary"] == "4 clips, 0 failed"


def test_futures_can_be_hidden_and_rows_sorted(seen):
    assert seen["hidden"]
    assert seen["back"]
    assert seen["rows"] == ["cab", "acb", "abc"]


def test_a_phone_shows_it_without_scrolling_sideways(make_clip, tmp_path):
    text = page(make_clip(scenario="a name that is rather long for the width of a telephone"))
    frame = f'<iframe style="width:400px;height:900px" srcdoc="{html.escape(text)}"></iframe>'
    script = (
        "addEventListener('load', () => setTimeout(() => { const inside = frames[0].document.documentElement;"
        "const ready = 'ready' in inside.querySelector('figure').dataset;"
        "document.title = inside.scrollWidth - inside.clientWidth + ' ' + ready; }, 2000));"
    )
    document = browse(tmp_path, f"<!DOCTYPE html><title></title>{frame}<script>{script}</script>", "")
    assert find("<title>(.*?)</title>", document) == "0 true"


def test_odd_clips_harm_nobody(make_clip, tmp_path):
    whole = vars(make_clip())
    never = {
        **whole,
        "alive": np.zeros((51, 6), bool),
        "events": ((99.0, "after the end"), (np.nan, "never")),
    }
    short = {name: value[:1] for name, value in whole.items() if np.shape(value)[:1] == (51,)}
    bare = {"lanes": (), "edges": (), "expert": None, "belief_mean": None, "belief_covariance": None}
    few = {**bare, "traces": (), "events": ()}
    odd = [
        {**whole, **few, "scenario": "no road"},
        {**never, "scenario": "nobody there"},
        {**whole, **short, **few, "scenario": "one frame"},
        {**never, **bare, "scenario": "nothing at all"},
        {**whole, "expert": np.full((51, 2), np.nan), "scenario": "nobody knows where the driver went"},
    ]
    seen = watch(tmp_path, page(*(Clip(**fields) for fields in odd)), WALKER, "#clip=99&t=-3")
    assert seen["errors"] == []
    assert sorted(seen["clips"]) == [1, 2, 3, 4, 5]
