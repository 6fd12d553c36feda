"""The images of the study and who sees which: six splits for every seed, disjoint but for the test rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "data" / "images"
FROM_TRAIN = 60_000  # rows of the file before this one are MNIST's training part, the others of its test part


@dataclass(frozen=True)
class Sizes:
    """How many rows the splits have."""

    train: int = 10_000
    validate: int = 2_500
    calibrate: int = 5_000
    test: int = 10_000
    strange: int = 2_000
    left_out: int = 8_000  # training rows of the networks that pretend not to know one class


@dataclass(frozen=True)
class Images:
    """Pictures in one array.

    Attributes:
        inside: shape (rows, pixels), within 0 and 1.
        kinds: which of all classes a row is of, shape (rows,).
        outside: pictures of something else, shape (other rows, pixels).
        official: rows from here on are always among the test rows.
    """

    inside: np.ndarray
    kinds: np.ndarray
    outside: np.ndarray
    official: int

    @property
    def side(self) -> int:
        """Pixels along one side."""
        return round(self.inside.shape[1] ** 0.5)


@dataclass(frozen=True)
class Task:
    """Which classes are known, and what every seed sees.

    Attributes:
        name: as printed.
        images: all pictures.
        labels: number of the known class, −1 for one that is held out, shape (rows,).
        classes: how many classes are known.
        seeds: row numbers by split, one dictionary for every seed. `hard` are rows of held-out classes and is
            empty if there are none; `easy` counts rows of `images.outside`.
        sizes: of the splits.
    """

    name: str
    images: Images
    labels: np.ndarray
    classes: int
    seeds: tuple[dict[str, np.ndarray], ...]
    sizes: Sizes

    def pixels(self, seed: int, split: str) -> np.ndarray:
        """Return the pictures of a split."""
        source = self.images.outside if split == "easy" else self.images.inside
        return source[self.seeds[seed][split]]

    def truth(self, seed: int, split: str) -> np.ndarray:
        """Return the classes of a split."""
        return self.labels[self.seeds[seed][split]]

    def training_rows(self, copies: int = 1) -> np.ndarray:
        """Return the training rows of every seed, each `copies` times in a row: (seeds · copies, rows)."""
        return np.repeat(np.stack([seed["train"] for seed in self.seeds]), copies, axis=0)


def task(name: str, images: Images, held: tuple[int, ...], seeds: int, sizes: Sizes) -> Task:
    """Draw the splits of every seed.

    The test rows are all official ones of known classes and as many others as are missing. Rows of held-out
    classes are never trained on, so those of both parts may be used.
    """
    known = np.setdiff1d(np.unique(images.kinds), held)
    labels = np.full(images.kinds.max() + 1, -1, np.int32)
    labels[known] = np.arange(len(known))
    labels = labels[images.kinds]
    official = np.arange(images.official, len(labels))
    drawn = []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        order = random.permutation(images.official)
        order, strange = order[labels[order] >= 0], order[labels[order] < 0]
        ends = np.cumsum([sizes.train, sizes.validate, sizes.calibrate])
        tested = official[labels[official] >= 0][: sizes.test]
        ends = [*ends, ends[-1] + sizes.test - len(tested)]
        train, validate, calibrate, more = np.split(order, ends)[:4]
        strange = np.concatenate([official[labels[official] < 0], strange])[: sizes.strange]
        easy = random.permutation(len(images.outside))[: sizes.strange]
        test = np.concatenate([tested, more])
        drawn.append(
            {
                "train": train,
                "validate": validate,
                "calibrate": calibrate,
                "test": test,
                "hard": strange,
                "easy": easy,
            }
        )
    return Task(name, images, labels, len(known), tuple(drawn), sizes)


def pretend(task: Task, seed: int) -> dict[str, np.ndarray]:
    """Return pictures to choose a score by that nobody needs anything strange for.

    One known class is taken for unknown, and known pictures are cut into sixteen blocks which are shuffled.
    Everything comes from rows that the seed trains, validates or calibrates with.
    """
    missing = seed % task.classes
    own = task.seeds[seed]
    pool = np.concatenate([own["train"], own["validate"]])
    rest = pool[task.labels[pool] != missing]
    train, kept = np.split(rest, [task.sizes.left_out])
    calibrate = own["calibrate"][task.labels[own["calibrate"]] != missing]
    # Half of what was held back makes the p-values, the other half is what the strange rows are told from.
    first, second = np.array_split(np.concatenate([calibrate, kept]), 2)
    inside = task.images.inside
    class_rows = np.concatenate([own["calibrate"], own["validate"]])
    return {
        "rows": train,
        "train": inside[train],
        "calibrate": inside[first],
        "test": inside[second],
        "hard": inside[class_rows[task.labels[class_rows] == missing]],
        "easy": shuffled(inside[second][:1000], task.images.side, np.random.default_rng(seed)),
    }


def shuffled(pixels: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    """Return the pictures with their four by four blocks in random places."""
    edge = side // 4
    blocks = pixels.reshape(-1, 4, edge, 4, edge).transpose(0, 1, 3, 2, 4).reshape(-1, 16, edge, edge)
    order = random.permuted(np.tile(np.arange(16), (len(blocks), 1)), axis=1)
    blocks = np.take_along_axis(blocks, order[..., None, None], axis=1)
    return blocks.reshape(-1, 4, 4, edge, edge).transpose(0, 1, 3, 2, 4).reshape(-1, side * side)


def real_images() -> Images | None:
    """Return MNIST and notMNIST, or None where they are not at hand."""
    files = [FOLDER / "mnist_convnetjs.npz", FOLDER / "notmnist_test.npz"]
    if not all(file.exists() for file in files):
        return None
    digits, letters = (np.load(file) for file in files)
    flat = [(part["x"].reshape(len(part["x"]), -1) / 255).astype(np.float32) for part in (digits, letters)]
    return Images(flat[0], digits["y"].astype(np.int32), flat[1], FROM_TRAIN)


def made_up_images(rows: int, side: int = 8, kinds: int = 6) -> Images:
    """Return blurred patterns with noise, and other noise: enough to see whether everything runs."""
    random = np.random.default_rng(0)
    patterns = random.random((kinds, side * side)) > 0.6
    which = random.integers(kinds, size=rows)
    inside = np.clip(patterns[which] + 0.4 * random.normal(size=(rows, side * side)), 0, 1)
    outside = random.random((rows, side * side))
    return Images(
        inside.astype(np.float32), which.astype(np.int32), outside.astype(np.float32), rows * 9 // 10
    )
