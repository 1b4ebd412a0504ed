"""Sparse coding by spiking neurons: accuracy by spikes, large dictionaries, learned atoms.

``python benchmarks/sparse_coding.py docs`` prints the tables of docs/sparse-coding.md and draws its picture.
Needs scikit-learn and matplotlib; patches of faces need scikit-image too, whose package holds them, and are
left out without it. Some minutes.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from seeds import pyplot, spread

from lshsample.coding import SpikingLCA, TwoPhaseLearning

SEEDS = (0, 1, 2)
TOLS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)


def unit(rows: Any) -> Any:
    """Rows scaled to length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def objective(signals: Any, codes: Any, atoms: Any, lam: float) -> Any:
    """The objective of each signal."""
    codes = np.asarray(codes)
    return np.square(signals - codes @ atoms).sum(axis=1) / 2 + lam * codes.sum(axis=1)


def coordinate_descent(signals: Any, atoms: Any, lam: float, tol: float = 1e-6) -> Any:
    """The solution by scikit-learn."""
    from sklearn.linear_model import Lasso

    model = Lasso(lam / atoms.shape[1], positive=True, fit_intercept=False, tol=tol, max_iter=100_000)
    return np.array([model.fit(atoms.T, signal).coef_ for signal in signals])


def accuracy() -> Any:
    """Error and spikes of a signal by tolerance, on random problems; (seeds, tolerances, 3)."""
    out = np.empty((len(SEEDS), len(TOLS), 3))
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        atoms, signals = unit(rng.standard_normal((256, 64))), unit(rng.standard_normal((10, 64)))
        exact = coordinate_descent(signals, atoms, 0.1)
        for j, tol in enumerate(TOLS):
            done = SpikingLCA(atoms, lam=0.1, tol=tol, threads=1).encode(signals)
            error = np.abs(done.codes.toarray() - exact).max(axis=1).mean()
            out[seed, j] = error, done.spikes.mean(), (exact > 0).sum(axis=1).mean()
    return out


def image_patches(n: int, rng: Any) -> tuple[Any, Any]:
    """Patches of 8 x 8 of scikit-learn's two photographs, of mean 0 and length 1: ``n`` atoms, 10 signals.

    Atoms are of the left three quarters, also turned and mirrored, none twice; signals are of the rest.
    """
    from sklearn.datasets import load_sample_images

    atoms, signals = [], []
    for image in load_sample_images().images:
        grey = image.mean(axis=2, dtype=np.float32) / 255
        edge = grey.shape[1] * 3 // 4
        for out, part in ((atoms, grey[:, :edge]), (signals, grey[:, edge:])):
            patches = np.lib.stride_tricks.sliding_window_view(part, (8, 8)).reshape(-1, 8, 8)
            patches = patches - patches.mean(axis=(1, 2), keepdims=True)
            out.append(patches[np.linalg.norm(patches, axis=(1, 2)) > 0.3])
    left, right = np.concatenate(atoms), np.concatenate(signals)
    which = rng.choice(8 * len(left), n, replace=False)
    found = np.empty((n, 8, 8), np.float32)
    for turn in range(8):
        at = which % 8 == turn
        patches = left[which[at] // 8]
        patches = patches.transpose(0, 2, 1) if turn >= 4 else patches
        found[at] = np.rot90(patches, turn % 4, axes=(1, 2))
    return unit(found.reshape(n, 64)), unit(right[rng.choice(len(right), 10, replace=False)].reshape(10, 64))


def left_over(coder: Any, signals: Any, codes: Any, atoms: Any, lam: float) -> tuple[float, float]:
    """How many silent atoms violate their condition, of all, and by how much the worst one does."""
    scale = (signals @ atoms.T).max(axis=1)
    over = ((signals - codes @ atoms) @ atoms.T - lam) / scale[:, None]
    rows, columns = codes.nonzero()
    over[rows, columns] = 0
    return (over > coder.tol).sum(axis=1).mean(), np.maximum(over.max(axis=1), 0).mean()


def large(n_atoms: int, family: str, lam: float = 0.2) -> list[tuple[str, list[list[float]]]]:
    """Codes of held-out patches over a dictionary of patches, by search of all atoms and through tables."""
    results: dict[str, list[list[float]]] = {"all atoms": [], family: []}
    for seed in SEEDS:
        atoms, signals = image_patches(n_atoms, np.random.default_rng(seed))
        best = None
        for name, rows in results.items():
            options = {} if name == "all atoms" else {"family": name, "n_checked": 1000}
            coder = SpikingLCA(atoms, lam=lam, tol=1e-3, n_neurons=128, threads=1, seed=seed, **options)
            begin = time.process_time()
            done = coder.encode(signals)
            seconds = (time.process_time() - begin) / len(signals)
            values = np.square(signals - done.codes @ atoms).sum(axis=1) / 2 + lam * done.codes.sum(axis=1)
            best = values if best is None else best
            counts = np.diff(done.codes.indptr).mean()
            above = (values / best - 1).mean() * 100
            missed = left_over(coder, signals, done.codes, atoms, lam)
            found = done.violators.mean()
            rows.append(
                [above, done.products.mean(), 1e3 * seconds, counts, done.rounds.mean(), found, *missed]
            )
    return list(results.items())


def digits(rng: Any) -> tuple[Any, Any]:
    """Digits of 8 x 8, of length 1; training and held-out rows."""
    from sklearn.datasets import load_digits

    rows = unit(load_digits().data)
    rows = rows[rng.permutation(len(rows))]
    return rows[:600], rows[600:700]


def faces(rng: Any) -> tuple[Any, Any]:
    """Patches of 8 x 8 of faces less their mean, of length 1; training ones and those of other faces.

    Pixels above the mean and below it are two features each, as of cells for light and for dark, so that
    atoms are not negative: on signed patches the two-phase rule diverges.
    """
    from skimage.data import lfw_subset

    images = lfw_subset()[:100]
    images = images[rng.permutation(100)]

    def patches(of: Any, n: int) -> Any:
        which, row, column = rng.integers(0, len(of), n), rng.integers(0, 18, n), rng.integers(0, 18, n)
        step = np.arange(8)
        out = of[which[:, None, None], row[:, None, None] + step[:, None], column[:, None, None] + step]
        out = out.reshape(n, 64) - out.mean(axis=(1, 2))[:, None]
        return unit(np.hstack([np.maximum(out, 0), np.maximum(-out, 0)]))

    return patches(images[:70], 600), patches(images[70:], 100)


def error_at(atoms: Any, signals: Any, n_nonzero: float) -> tuple[float, float]:
    """Mean squared error of held-out signals where lam gives codes of ``n_nonzero`` entries on average."""
    low, high = 1e-3, 1.0
    for _ in range(8):
        lam = (low * high) ** 0.5
        codes = coordinate_descent(signals, atoms, lam, 1e-4)
        count = (codes > 0).sum(axis=1).mean()
        low, high = (lam, high) if count > n_nonzero else (low, lam)
    return float(np.square(signals - codes @ atoms).sum(axis=1).mean()), count


def learning(source: Any, n_nonzero: float, lam: float = 0.1, n_atoms: int = 64) -> tuple[Any, list[Any]]:
    """Held-out errors at equal sparsity: first atoms, the two-phase rule, scikit-learn; their atoms."""
    from sklearn.decomposition import DictionaryLearning

    rows = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        train, held_out = source(rng)
        first = train[rng.choice(len(train), n_atoms, replace=False)]
        begin = time.process_time()
        own = TwoPhaseLearning(n_atoms, lam=lam, epochs=15, seed=seed, threads=1).fit(train)
        middle = time.process_time()
        other = DictionaryLearning(
            n_atoms,
            alpha=lam,
            max_iter=30,
            tol=0,
            fit_algorithm="cd",
            positive_code=True,
            random_state=seed,
            dict_init=first,
            code_init=np.maximum(train @ first.T, 0) / n_atoms,
        ).fit(train)
        seconds = middle - begin, time.process_time() - middle
        atoms = [first, own.feedforward, other.components_]
        errors = [error_at(unit(a.astype(np.float64)), held_out, n_nonzero)[0] for a in atoms]
        mismatch = np.abs(own.lateral - own.feedforward @ own.feedback).max()
        rows.append([*errors, *seconds, mismatch])
    return np.array(rows), atoms[1:]


def draw(curve: Any, pictures: dict[str, list[Any]], path: Path) -> None:
    """The picture: error by spikes, and some of the atoms."""
    plt = pyplot()
    names = [f"{name}, {who}" for name in pictures for who in ("two-phase rule", "scikit-learn")]
    figure, axes = plt.subplots(
        1, 1 + len(names), figsize=(3.2 * (1 + len(names)), 3.2), layout="constrained"
    )
    mean = curve.mean(axis=0)
    axes[0].loglog(mean[:, 1], mean[:, 0], "o-", label="largest error of a code")
    axes[0].loglog(mean[:, 1], mean[0, 0] * mean[0, 1] / mean[:, 1], "--", label="1 / spikes")
    axes[0].set_xlabel("spikes of a signal")
    axes[0].legend()
    atoms = [a for pair in pictures.values() for a in pair]
    for axis, name, rows in zip(axes[1:], names, atoms, strict=True):
        rows = rows[:, :64] - rows[:, 64:] if rows.shape[1] == 128 else rows
        tiles = np.pad(rows.reshape(8, 8, 8, 8), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
        axis.imshow(tiles.transpose(0, 2, 1, 3).reshape(72, 72), cmap="gray", interpolation="nearest")
        axis.set_title(name, fontsize=10)
        axis.axis("off")
    figure.savefig(path, metadata={"Date": None})


def main(folder: Path) -> None:
    """All tables, and the picture."""
    curve = accuracy()
    print("tolerance | largest error | spikes | nonzeros")
    for j, tol in enumerate(TOLS):
        spikes, nonzeros = curve[:, j, 1:].mean(axis=0)
        print(f"{tol:g} | {spread(curve[:, j, 0], '.5f')} | {spikes:.0f} | {nonzeros:.0f}")
    print("search | above, % | products | ms a signal | nonzeros | rounds | violators | exact | worst")
    for n_atoms, family in (
        (100_000, "simhash:n_hashes=12,n_tables=50"),
        (1_000_000, "simhash:n_hashes=15,n_tables=50"),
    ):
        for name, rows in large(n_atoms, family):
            values = np.array(rows)
            print(n_atoms, name, *(spread(values[:, k], ".3f") for k in range(8)), sep=" | ", flush=True)
    sources = {"digits": (digits, 8.0)}
    if importlib.util.find_spec("skimage"):
        sources["faces"] = (faces, 8.0)
    pictures = {}
    print("data | first atoms | two-phase | scikit-learn | seconds | its seconds | lateral off")
    for name, (source, n_nonzero) in sources.items():
        rows, pictures[name] = learning(source, n_nonzero)
        print(name, *(spread(rows[:, k]) for k in range(6)), sep=" | ", flush=True)
    draw(curve, pictures, folder / "sparse-coding.svg")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/sparse_coding.py FOLDER (where the picture goes, such as docs)")
    main(Path(sys.argv[1]))
