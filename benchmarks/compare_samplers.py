"""Where LSH pays: samplers compared in training, and the bias and variance of their gradients.

``python benchmarks/compare_samplers.py train FOLDER... --out runs.jsonl`` trains a network with each sampler
and number of active units on the data of each folder (``train.txt.gz`` in XC format), and evaluates it on
held-out training rows. ``gradients FOLDER... --out gradients.jsonl`` trains one network with all units, and
compares the gradients of each sampler, over many draws, with the full one. Both write a line of JSON for each
run, and skip what the file already has, so that an interrupted comparison continues. ``report --runs
runs.jsonl --gradients gradients.jsonl --into DIR`` draws the pictures and prints the tables of
docs/where-lsh-pays.md.

All runs are on one thread (set ``OPENBLAS_NUM_THREADS=1`` too); times are processor seconds of the training
without its evaluations, so that runs may share a machine with others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import attrs
import numpy as np

from lshsample import __version__, laws, make_family
from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Dataset, read_xc
from lshsample.nn.signals import Run
from lshsample.sampling import Pipeline, Rehash, named_pipeline
from lshsample.training import Callback
from lshsample.training.batch_source import held_out_rows

SAMPLERS = (
    "lsh",
    "lsh-only",
    "lsh-frequency",
    "learned",
    "uniform",
    "frequency",
    "log-uniform",
    "midx",
    "exact-top",
    "full",
)
ACTIVE = (25, 100, 400, 1600, 4096)
HELD_OUT = 0.1
#: Of the gradients of the last layer's weights and of the first's.
MOMENTS = ("bias_last", "std_last", "bias_first", "std_first")
#: Ticks of times.
SECONDS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
#: Rows whose hidden vectors learned directions are fitted to, and the epochs after which they are.
FITTED_ROWS, FITTED_AFTER = 2_000, (1, 2, 4, 8)


# ---- samplers


def draws_for(distinct: float, probability: np.ndarray) -> int:
    """Number of draws with replacement that are expected to have this many distinct items."""
    low, high = 1, int(1000 * distinct)
    while low < high:
        middle = (low + high) // 2
        if laws.frequency_inclusion(probability, middle).sum() < distinct:
            low = middle + 1
        else:
            high = middle
    return low


def pipeline_of(sampler: str, n_active: int, y) -> str:
    """The pipeline of a sampler as text: the labels of the batch, and about n_active other units."""
    n_labels = y.shape[1]
    frequencies = np.bincount(y.indices, minlength=n_labels) + 1.0  # as the output layer counts them
    frequencies /= frequencies.sum()

    def exactly(draws, distinct: int):
        return attrs.evolve(draws, n=draws_for(distinct, draws.probabilities(frequencies)))

    name = {"lsh-only": "slide-topk", "learned": "lsh"}.get(sampler, sampler)
    pipeline = named_pipeline(name, n_active=n_active, n_items=n_labels)
    stages = (exactly(one, one.n) if "frequencies" in one.needs() else one for one in pipeline)
    return str(Pipeline(tuple(stages)))


class Timer(Callback):
    """Processor seconds of the steps and of what they do, without evaluations."""

    def __init__(self) -> None:
        self.outside = 0.0
        self.curve: list[dict[str, float]] = []

    def on_start(self, trainer, steps_done, steps_total) -> None:
        self.began = self.last = time.process_time()

    def on_step(self, step, report, milliseconds) -> None:
        self.last = time.process_time()

    def on_epoch(self, record) -> None:
        self.curve.append({"cpu": self.last - self.began - self.outside, "p@1": record.validation["p@1"]})
        self.outside += time.process_time() - self.last


class Learn(Callback):
    """Fits the directions of the output layer's tables to the hidden vectors of training rows."""

    def __init__(self, x, y, seed: int) -> None:
        rows = np.sort(np.random.default_rng(seed).permutation(x.shape[0])[:FITTED_ROWS])
        self.x, self.y, self.builds, self.schedule = x[rows], y[rows], 0, Rehash()

    def on_start(self, trainer, steps_done, steps_total) -> None:
        self.network, self.epoch_steps = trainer.network, (steps_total or 0) // trainer.settings.epochs
        self.layer = trainer.network.output

    def on_step(self, step, report, milliseconds) -> None:
        tables, vectors = self.layer.active.tables, self.layer.weights.weights
        if step in (epochs * self.epoch_steps for epochs in FITTED_AFTER):
            hidden = self.network.hidden(self.x, threads=1)
            tables.rebuild(vectors, tables.family.fit(hidden, self.y, vectors, epochs=1))
        elif self.schedule.count(step) > self.builds:
            tables.rebuild(vectors)
        self.builds = self.schedule.count(step)


def family_of(sampler: str, width: int, n_labels: int, seed: int):
    if sampler == "learned":
        bits = max(1, round(np.log2(n_labels) - 3))
        return make_family("learned-simhash", dim=width, n_hashes=bits, n_tables=16, seed=seed)
    return "product-quantization" if sampler == "midx" else "simhash"


# ---- runs


def load(folder: Path, rows: int | None):
    data = read_xc(folder / "train.txt.gz")
    used = slice(None)
    if rows is not None and rows < data.n_rows:
        used = np.sort(np.random.default_rng(0).permutation(data.n_rows)[:rows])
    return data.x[used], data.y[used]


def config_of(given, sampler: str, n_active: int, y, seed: int, width: int) -> TrainConfig:
    return TrainConfig(
        hidden=width,
        sampler=pipeline_of(sampler, n_active, y),
        family=family_of(sampler, width, y.shape[1], seed),
        n_active=n_active,
        active_set=given.active_set,
        epochs=given.epochs,
        importance=given.importance,
        seed=seed,
    )


def trained(given, x, y, sampler: str, n_active: int, seed: int):
    """A trained network, its history, and its timer."""
    inside, outside = held_out_rows(x.shape[0], HELD_OUT, seed)
    config = config_of(given, sampler, n_active, y[inside], seed, given.hidden)
    config = config.resolve(Dataset(x[inside], y[inside]))
    network = build_network(config, x.shape[1], y.shape[1])
    if sampler == "learned":  # the tables are rebuilt by the callback alone
        spec = network.spec
        last = attrs.evolve(spec.layers[-1], rehash=Rehash(first=0))
        network = type(network)([*spec.layers[:-1], last], seed=spec.seed)
    timer = Timer()
    callbacks = [Learn(x[inside], y[inside], seed), timer] if sampler == "learned" else [timer]
    trainer = build_trainer(config, network, threads=1, callbacks=callbacks)
    history = trainer.fit(x[inside], y[inside], validation=(x[outside], y[outside]))
    return network, history, timer, config


def done_in(path: Path) -> set[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {json.loads(line)["key"] for line in lines}


def write(path: Path, line: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    shown = {name: round(value, 3) for name, value in line.items() if isinstance(value, float)}
    print(line["key"], shown, flush=True)


def budgets(given, sampler: str, n_labels: int) -> list[int]:
    if sampler == "full":
        return [n_labels]
    return [n for n in given.active if n < n_labels]


def train(given) -> None:
    for folder in given.folders:
        done, data = done_in(given.out), None
        for seed in given.seeds:
            for sampler in given.samplers:
                data = data or load(folder, given.rows)
                x, y = data
                for n_active in budgets(given, sampler, y.shape[1]):
                    key = f"{folder.name} {given.active_set} {sampler} {n_active} {seed} {given.importance}"
                    if key in done:
                        continue
                    _, history, timer, config = trained(given, x, y, sampler, n_active, seed)
                    if history.stopped != "finished":  # by a signal
                        return
                    last = history.epochs[-1]
                    write(
                        given.out,
                        {
                            "key": key,
                            "data": folder.name,
                            "active_set": given.active_set,
                            "importance": given.importance,
                            "sampler": sampler,
                            "n_active": n_active,
                            "seed": seed,
                            **last.validation,
                            "cpu": timer.curve[-1]["cpu"],
                            "wall": last.seconds,
                            "active": history.active_mean,
                            "curve": timer.curve,
                            "rows": x.shape[0],
                            "epochs": config.epochs,
                            "hidden": given.hidden,
                            "pipeline": config.sampler,
                            "version": __version__,
                        },
                    )


# ---- gradients


def sharing(network, layers, seed: int, y):
    """A network of other layers with the same weights."""
    other = type(network)(layers, seed=seed)
    for mine, theirs in zip(other.parameters, network.parameters, strict=True):
        mine.adopt(theirs.slots)
    other.observe_labels(y)
    return other


def sampled_by(network, sampler: str, family, importance: str, y, seed: int):
    """The same network with another sampler, whose hash functions the seed determines."""
    *below, last = network.spec.layers
    changes = {"sampler": sampler, "family": family, "importance": importance, "rehash": Rehash(first=0)}
    return sharing(network, [*below, attrs.evolve(last, **changes)], seed, y)


def gradients_of(network, x, y, seed: int) -> list[np.ndarray]:
    """The gradient of the mean loss of a batch: of the first layer's weights, and of the last layer's."""
    network.prepare(0, 1)
    run = Run(1, seed, 1, training=False, sampled=True, targets=y)
    _, updates = network.gradients(x, y, run)
    result = []
    for parameter in (network.layers[1].weights, network.output.weights):
        update = next(one for one in updates if one.parameter is parameter)
        dense = np.zeros(parameter.weights.shape, np.float32)
        dense[slice(None) if update.rows is None else update.rows] = update.gradient
        result.append(dense)
    return result


def moments(make, x, y, n_draws: int, full: list[np.ndarray]) -> dict[str, float]:
    """Relative bias and standard deviation of gradients over draws of the sampler, tables included."""
    sums, squares = [np.zeros(part.shape) for part in full], [0.0] * len(full)
    for draw in range(n_draws):
        for i, part in enumerate(gradients_of(make(draw), x, y, draw)):
            sums[i] += part
            squares[i] += float(np.sum(np.square(part, dtype=np.float64)))
    result = {}
    for i, name in enumerate(("first", "last")):
        mean, norm = sums[i] / n_draws, float(np.sum(np.square(full[i], dtype=np.float64)))
        variance = max(squares[i] - n_draws * float(np.sum(mean**2)), 0.0) / (n_draws - 1)
        # The mean of n draws is variance / n further from the full gradient, in squares, than the bias.
        bias = max(float(np.sum((mean - full[i]) ** 2)) - variance / n_draws, 0.0)
        result |= {f"bias_{name}": (bias / norm) ** 0.5, f"std_{name}": (variance / norm) ** 0.5}
    return result


def learned_family(network, x, y, width: int):
    hidden, vectors = network.hidden(x[:FITTED_ROWS], threads=1), network.output.weights.weights
    return family_of("learned", width, y.shape[1], 0).fit(hidden, y[:FITTED_ROWS], vectors, epochs=3)


def base_network(given, x, y):
    """A trained network without dropout."""
    network, *_ = trained(given, x, y, given.base, given.base_active, 0)
    *below, hidden, last = network.spec.layers
    return sharing(network, [*below, attrs.evolve(hidden, dropout=0.0), last], 0, y)


def gradients(given) -> None:
    for folder in given.folders:
        done, (x, y) = done_in(given.out), load(folder, given.rows)
        network = base_network(given, x, y)
        rows = np.sort(np.random.default_rng(1).permutation(x.shape[0])[: given.batch])
        batch = network.batch(x[rows], y[rows])
        full = gradients_of(sampled_by(network, "full", "simhash", "off", y, 0), batch.x, batch.y, 0)
        for sampler in given.samplers:
            if sampler == "full":
                continue
            learns = sampler == "learned"
            family = (
                learned_family(network, x, y, given.hidden)
                if learns
                else family_of(sampler, given.hidden, y.shape[1], 0)
            )
            for n_active in budgets(given, sampler, y.shape[1]):
                for importance in ("off", "auto"):
                    key = f"{folder.name} {given.active_set} {sampler} {n_active} {importance}"
                    if key in done:
                        continue
                    pipeline = pipeline_of(sampler, n_active, y)
                    make = partial(sampled_by, network, pipeline, family, importance, y)
                    found = moments(make, batch.x, batch.y, given.draws, full)
                    line = {"key": key, "data": folder.name, "sampler": sampler, "n_active": n_active}
                    line["active_set"] = given.active_set
                    write(given.out, {**line, "importance": importance, **found, "draws": given.draws})


# ---- report

#: The palette of Okabe and Ito (2008) with three more, and a marker, by sampler.
COLOURS = ["#0072B2", "#56B4E9", "#882255", "#009E73", "#4D4D4D"]
COLOURS += ["#E69F00", "#CC79A7", "#D55E00", "#999933", "#000000"]
STYLES = dict(zip(SAMPLERS, zip(COLOURS, "osPD^v<>pX", strict=True), strict=True))


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def grouped(lines: list[dict], *names: str) -> dict[tuple, list[dict]]:
    groups = defaultdict(list)
    for line in lines:
        groups[tuple(line[name] for name in names)].append(line)
    return groups


def without_offsets(lines: list[dict]) -> list[dict]:
    """The runs with P@k moved by one number for each data set and seed.

    The held-out rows differ between seeds, which moves all samplers alike. The numbers make the means over
    the runs that all seeds have the same, so that what varies is the training.
    """
    moved = []
    for _, own in grouped(lines, "data", "active_set").items():
        by_seed = {seed: grouped(of, "sampler", "n_active") for (seed,), of in grouped(own, "seed").items()}
        common = set.intersection(*(set(of) for of in by_seed.values()))
        for line in own:
            change = {}
            for measure in ("p@1", "p@3", "p@5"):
                means = {
                    seed: np.mean([of[key][0][measure] for key in common]) for seed, of in by_seed.items()
                }
                overall = np.mean(list(means.values()))
                change[measure] = (
                    line[measure] - float(means[line["seed"]] - overall) if common else line[measure]
                )
            moved.append({**line, **change})
    return moved


def panels(lines: list[dict], path: Path, draw, x_label: str, y_label: str, ticks=ACTIVE) -> None:
    """One plot for each data set, side by side, with one legend."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    by_data = grouped(lines, "data")
    columns = min(3, len(by_data))
    n_rows = -(-len(by_data) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.5 * n_rows + 0.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(n_rows, columns)).ravel()
    for axis in axes[len(by_data) :]:
        axis.set_axis_off()
    shown = {}
    for axis, ((name,), own) in zip(axes, by_data.items(), strict=False):
        by_sampler = grouped(own, "sampler")
        for sampler in (one for one in SAMPLERS if (one,) in by_sampler):
            shown[sampler] = draw(axis, sampler, by_sampler[(sampler,)])
        axis.set_title(name)
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        axis.set_xticks([tick for tick in ticks if low <= tick <= high])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.grid(alpha=0.3)
    order = [sampler for sampler in SAMPLERS if sampler in shown]
    figure.legend([shown[one] for one in order], order, loc="outside lower center", ncols=5, frameon=False)
    FigureCanvasSVG(figure)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lshsample"}):
        figure.savefig(path, metadata={"Date": None})
    print(path)


def line_of(axis, sampler: str, x: list, y: list, spread: tuple | None = None):
    colour, marker = STYLES[sampler]
    if spread is not None:
        axis.fill_between(x, *spread, color=colour, alpha=0.12, linewidth=0)
    return axis.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2)[0]


def draw_accuracy(axis, sampler: str, lines: list[dict]):
    """P@1 by the number of active units; all units are a horizontal line."""
    by_size = sorted(grouped(lines, "n_active").items())
    values = [[line["p@1"] for line in own] for _, own in by_size]
    mean = [float(np.mean(one)) for one in values]
    if sampler == "full":
        low, high = axis.get_ylim()
        level = axis.axhline(mean[0], color="black", linestyle="--", linewidth=1)
        if not 2 * low - high < mean[0] < 2 * high - low:  # too far away: the others would be one line
            axis.set_ylim(low, high)
        return level
    ranges = [min(one) for one in values], [max(one) for one in values]
    return line_of(axis, sampler, [size for (size,), _ in by_size], mean, ranges)


def draw_time(axis, sampler: str, lines: list[dict]):
    """P@1 by the time of the training, a point for each number of active units."""
    by_size = sorted(grouped(lines, "n_active").items())
    times = [float(np.mean([line["cpu"] for line in own])) for _, own in by_size]
    return line_of(axis, sampler, times, [float(np.mean([one["p@1"] for one in own])) for _, own in by_size])


def draw_moment(name: str, axis, sampler: str, lines: list[dict]):
    by_size = sorted(lines, key=lambda line: line["n_active"])
    axis.set_yscale("symlog", linthresh=0.01)
    return line_of(axis, sampler, [one["n_active"] for one in by_size], [one[name] for one in by_size])


def table(lines: list[dict], measure: str = "p@1") -> str:
    """Mean and standard deviation over the seeds, in Markdown: a row for each sampler."""
    sizes = sorted({line["n_active"] for line in lines if line["sampler"] != "full"})
    rows = [f"| {measure.upper()} | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
    found = grouped(lines, "sampler", "n_active")
    for sampler in SAMPLERS:
        cells = [found.get((sampler, size), []) for size in sizes]
        if sampler == "full":
            cells = [own for (name, _), own in found.items() if name == "full"][:1]
        if any(cells):
            shown = " | ".join(cell_text([one[measure] for one in own]) for own in cells)
            rows.append(f"| `{sampler}` | {shown} |")
    return "\n".join(rows)


def cell_text(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def report(given) -> None:
    given.into.mkdir(parents=True, exist_ok=True)
    runs = without_offsets(
        [one for one in read(given.runs) if one["importance"] == "off"] if given.runs else []
    )
    for (active_set,), lines in grouped(runs, "active_set").items():
        accuracy = given.into / f"where-lsh-pays-{active_set}.svg"
        panels(lines, accuracy, draw_accuracy, "active units, besides the labels", "P@1 (%)")
        times = given.into / f"where-lsh-pays-{active_set}-time.svg"
        panels(lines, times, draw_time, "seconds of training", "P@1 (%)", SECONDS)
        for (name,), own in grouped(lines, "data").items():
            seeds = len({line["seed"] for line in own})
            print(
                f"\n{name}, {active_set}: {own[0]['rows']} rows, {own[0]['epochs']} epochs, {seeds} seeds\n"
            )
            for measure in ("p@1", "p@5", "cpu", "active"):
                print(table(own, measure), end="\n\n")
    moments_of = read(given.gradients) if given.gradients else []
    for (active_set, importance), lines in grouped(moments_of, "active_set", "importance").items():
        for name in MOMENTS:
            path = given.into / f"where-lsh-pays-{name.replace('_', '-')}-{active_set}-{importance}.svg"
            what = {"bias": "relative bias", "std": "relative standard deviation"}[name.split("_")[0]]
            panels(lines, path, partial(draw_moment, name), "active units, besides the labels", what)
            for (data,), own in grouped(lines, "data").items():
                print(f"\n{data}, {active_set}, importance {importance}, {name}\n")
                print(table([{**line, name: 100 * line[name]} for line in own], name), end="\n\n")


# ---- command line


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    for name, run in (("train", train), ("gradients", gradients)):
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        one.add_argument("folders", nargs="+", type=Path, help="Folders with train.txt.gz.")
        one.add_argument(
            "--out", type=Path, required=True, help="File of results, one JSON line for each run."
        )
        one.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
        one.add_argument(
            "--active", nargs="+", type=int, default=list(ACTIVE), help="Numbers of active units."
        )
        one.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
        one.add_argument("--rows", type=int, help="Train on this many random rows.")
        one.add_argument(
            "--epochs", type=int, help="By default as `lshsample train --preset network` chooses."
        )
        one.add_argument("--hidden", type=int, default=256, help="Width of the hidden layer.")
        one.add_argument("--active-set", choices=("batch", "sample"), default="batch")
        one.add_argument("--importance", choices=("off", "auto"), default="off")
        if name == "gradients":
            one.add_argument("--base", default="full", help="The sampler that the network is trained with.")
            one.add_argument("--base-active", type=int, default=4096)
            one.add_argument("--draws", type=int, default=50)
            one.add_argument("--batch", type=int, default=128)
    one = commands.add_parser("report")
    one.set_defaults(run=report)
    one.add_argument("--runs", type=Path, help="File of `train`.")
    one.add_argument("--gradients", type=Path, help="File of `gradients`.")
    one.add_argument("--into", type=Path, required=True, help="Folder of the pictures.")
    return top


def main() -> None:
    given = parser().parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
