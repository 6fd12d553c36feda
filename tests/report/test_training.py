import base64
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.errors import CalibrationError, OptionError, ShapeError
from foresee.fit import Fitted
from foresee.report.gradients import draw_gradient_norms
from foresee.report.plots import VERMILLION
from foresee.report.simplex import draw_simplex
from foresee.report.training import draw_losses, training_page, write_training

EPOCHS, RAN, STEPS = 6, 4, 5


def fitted(members=None, **changes):
    """What a run of 4 of 6 epochs leaves behind; NaN where nothing was run."""
    random = np.random.default_rng(0)
    lead = () if members is None else (members,)
    losses = np.broadcast_to(np.exp(-np.arange(EPOCHS, dtype=float)), (*lead, EPOCHS)).copy()
    losses[..., RAN:] = np.nan
    norms = random.uniform(0.1, 3, size=(*lead, EPOCHS * STEPS))
    norms[..., RAN * STEPS :] = np.nan
    watched = random.dirichlet(np.ones(3), size=(*lead, EPOCHS + 1, 8))
    watched[..., RAN + 1 :, :, :] = np.nan
    parts = {
        "model": None,
        "optimizer_state": None,
        "losses": losses,
        "validation_losses": losses + 0.1,
        "best_epoch": np.full(lead, 3),
        "epochs": np.full(lead, RAN),
        "watched": watched,
        "gradient_norms": {"layers[0]": norms, "layers[1]": 0.1 * norms},
        "finite": np.full(lead, True),
    }
    parts |= changes
    return Fitted(**jax.tree.map(jnp.asarray, parts))


@pytest.fixture(scope="module")
def page():
    return training_page(fitted(), labels=np.arange(8) % 3, classes=("cat", "dog", "hen")).html()


def test_the_page_has_everything_that_was_recorded(page):
    assert page.count("data:image/svg+xml;base64,") == 3
    assert page.count('<audio controls aria-label="Gradient norms as tones" src="data:audio/wav;base64,') == 1
    assert "media-src data:" in page
    assert "4 epochs; training loss at the end 0.0498; validation loss at best 0.2353, after epoch 3." in page
    assert not re.search(r"(src|href)=.(?!data:|#)", page)


def test_epochs_that_were_not_run_are_no_broken_norms(page):
    assert "Every norm is finite." in page
    assert "ended in NaN" not in page


def test_what_was_not_recorded_is_left_out():
    bare = {"validation_losses": None, "watched": None, "gradient_norms": None}
    text = training_page(fitted(**bare)).html()
    assert text.count("data:image/svg+xml;base64,") == 1
    assert "<audio" not in text
    assert "validation" not in text.split("<main>")[1].split("</main>")[0].replace("A validation loss", "")


def test_a_broken_run_says_so():
    norms = np.ones(EPOCHS * STEPS)
    norms[7] = np.inf
    text = training_page(fitted(gradient_norms={"a": norms}, finite=np.array(False))).html()
    assert "Something is no number." in text
    assert "1 of 20 steps have a norm that is NaN or infinite" in text
    assert "the first is step 7 in a." in text


def test_one_of_several_members():
    run = fitted(members=2)
    assert "4 epochs" in training_page(run, member=1).html()
    for member in (None, 2, -1):
        with pytest.raises(OptionError, match="expected a member of 0 to 1"):
            training_page(run, member=member)
    with pytest.raises(OptionError, match="expected no member"):
        training_page(fitted(), member=0)


def test_page_and_sound_are_written_as_files(tmp_path):
    write_training(tmp_path / "new", fitted(watched=None), title="A run")
    page, sound = tmp_path / "new" / "training.html", tmp_path / "new" / "gradients.wav"
    assert sorted(path.name for path in page.parent.iterdir()) == [sound.name, page.name]
    assert base64.b64encode(sound.read_bytes()).decode() in page.read_text()
    assert sound.read_bytes()[:4] == b"RIFF"


@pytest.mark.parametrize("layers", [3, 9], ids=["lines", "map"])
def test_norms_are_drawn_with_what_is_no_number_in_red(layers):
    random = np.random.default_rng(1)
    norms = {f"layer {k}": random.uniform(0.1, 2, size=700) for k in range(layers)}
    assert VERMILLION.lower() not in draw_gradient_norms(norms).svg.lower()
    norms["layer 1"][0] = 0.0  # has no logarithm
    norms["layer 2"][300:] = np.nan
    figure = draw_gradient_norms(norms)
    assert "400 of 700 steps" in figure.caption
    assert "the first is step 300 in layer 2." in figure.caption
    assert "Medians over stretches" in figure.caption
    assert layers == 9 or VERMILLION.lower() in figure.svg.lower()


def test_norms_of_a_single_step_and_nothing_but_nan():
    assert "Every norm is finite" in draw_gradient_norms({"a": np.ones(1)}).caption
    assert "2 of 2 steps" in draw_gradient_norms({"a": np.full(2, np.nan)}).caption
    assert "2 of 2 steps" in draw_gradient_norms({f"{k}": np.full(2, np.nan) for k in range(9)}).caption
    with pytest.raises(ShapeError, match="one number per step"):
        draw_gradient_norms({"a": np.ones(2), "b": np.ones(3)})


def test_losses_of_one_epoch_and_of_a_broken_run():
    assert draw_losses(np.array([1.0])).svg
    assert draw_losses(np.array([1.0, np.nan, np.inf]), np.array([np.nan] * 3), 1).svg


def test_simplex():
    paths = np.random.default_rng(0).dirichlet(np.ones(3), size=(5, 70))
    figure = draw_simplex(paths, np.arange(70) % 3, ("a", "b", "c"))
    assert "60 of 70 are shown" in figure.caption
    paths[3:, 4] = np.nan
    assert "1 path ended in NaN." in draw_simplex(paths).caption


def test_simplex_refuses_what_is_none():
    with pytest.raises(ShapeError, match=r"\(times, samples, 3\)"):
        draw_simplex(np.ones((2, 3, 4)) / 4)
    with pytest.raises(CalibrationError, match="are these logits"):
        draw_simplex(np.ones((2, 3, 3)))
    with pytest.raises(ShapeError, match="expected labels 0 to 2"):
        draw_simplex(np.ones((2, 2, 3)) / 3, np.array([0, 3]))
