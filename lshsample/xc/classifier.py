"""The classifier: a network, a linear path and neighbours among the training rows, mixed by held-out rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample._native import core
from lshsample._native.labels import checked_ids, label_rows
from lshsample.errors import ArgumentError, needs_extra
from lshsample.files import as_path
from lshsample.metrics import precision_at_k
from lshsample.nn import Network
from lshsample.nn.bundle import kind_of, model_folder, read_bundle
from lshsample.nn.network import MODEL
from lshsample.specs import checked_integer, checked_number
from lshsample.streams import StreamedRows
from lshsample.tables.mapped import MappedFile
from lshsample.text import LabelNames, TextVectorizer
from lshsample.training import Callback, History
from lshsample.xc.classifier_file import CLASSIFIER, Contents, Lazy, write_files
from lshsample.xc.filters import MAX_FEW, LabelFilter, independent_values, with_labels
from lshsample.xc.fitting import Fit, Progress, Stage
from lshsample.xc.mixture import Mixture
from lshsample.xc.parts import LinearPart, NetworkPart, Part, Queries
from lshsample.xc.recipe import Recipe
from lshsample.xc.streaming import StreamFit
from lshsample.xc.thresholds import THRESHOLDS, Thresholds
from lshsample.xc.updating import NETWORK_UPDATES, Update, widened
from lshsample.xc.weighting import RowWeighting

__all__ = ["KINDS", "SCORES", "Classifier", "load_model", "load_network"]

#: The kinds of models.
KINDS = (MODEL, CLASSIFIER)
#: What :meth:`Classifier.predict` can return for a label.
SCORES = ("probability", "margin", "independent")
#: Rows that are computed together.
_BATCH = 2048


class Classifier:
    """Names the most probable labels of sparse rows.

    Made by :meth:`fit` or :meth:`load`.

    Notes
    -----
    Up to four parts name labels for a row: a linear path, one network or the mean of several, the nearest
    training rows by cosine, and the nearest training rows by the cosine of the network's hidden vectors. A
    :class:`~lshsample.xc.Mixture`, fitted on training rows that were held out, turns what they say into
    probabilities; parts that do not help are left out.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> rng = np.random.default_rng(0)
    >>> x = sp.random_array((300, 40), density=0.2, rng=rng, format="csr")
    >>> y = sp.csr_array((x @ sp.eye_array(40, 10)).toarray() > 0.6)
    >>> classifier = Classifier.fit(x, y, "fast", threads=1)
    >>> labels, probabilities = classifier.predict(x[:2], top=3)
    >>> labels.shape, bool((probabilities <= 1).all())
    ((2, 3), True)
    """

    def __init__(
        self,
        recipe: Recipe,
        weighting: RowWeighting,
        parts: dict[str, Part],
        mixture: Mixture,
        counts: npt.NDArray[np.int64],
        n_features: int,
        stages: Sequence[Stage] = (),
        histories: Sequence[History] = (),
        thresholds: Thresholds | None = None,
        independent: Mixture | None = None,
    ) -> None:
        self.recipe, self.weighting, self.parts, self.mixture = recipe, weighting, parts, mixture
        self.n_features, self.stages = n_features, tuple(stages)
        self.histories = tuple(histories)
        self._vectorizer: Lazy[TextVectorizer] = Lazy()
        self._names: Lazy[LabelNames] = Lazy()
        self._files: tuple[MappedFile, ...] = ()
        self.counts = counts
        #: Probabilities of the largest F1 on held-out rows; None in models of versions without them.
        self.thresholds = thresholds
        #: The mixture of ``scores="independent"``; None in models of versions without it.
        self.independent = independent
        #: Labels that :meth:`remove_labels` took away, ascending.
        self.removed = np.empty(0, np.int64)

    @classmethod
    @memory.named_shortage("fitting a classifier")
    def fit(
        cls,
        X: Any,
        Y: Any,
        recipe: Recipe | str = "balanced",
        *,
        threads: int | None = None,
        max_seconds: float | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_seconds: float = 300.0,
        curve_rows: int = 0,
        progress: Progress | None = None,
        on_stage: Callable[[Stage], None] | None = None,
    ) -> Self:
        """Train a classifier.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows. Counts are weighted by inverse document frequency, and rows have length 1.
        Y : csr_array or array, shape (rows, n_labels)
            1 for a label, 0 for none, or lists of ids.
        recipe : Recipe or str
            How; a name of :data:`~lshsample.xc.PRESETS`: ``"fast"``, ``"balanced"``, ``"accurate"``.
        threads : int, optional
            Number of threads; the classifier does not depend on it.
        max_seconds : float, optional
            Time that the fit may take. The neighbours and the linear path come first; networks get the time
            that is left, and are left out if less than a third of it is. The result depends on timing then.
        callbacks : sequence of Callback
            Callbacks of the training of networks.
        checkpoint : path, optional
            Folder of checkpoints of the networks; a fit that was interrupted continues from it.
        checkpoint_seconds : float
            Training time between two checkpoints of a network, in seconds.
        curve_rows : int
            Held-out rows that networks are also evaluated on between steps; see
            :class:`~lshsample.training.Trainer`.
        progress : callable, optional
            Called with what is being done, how much of it is done, and all of it.
        on_stage : callable, optional
            Called with a :class:`Stage` when a part is ready.

        Returns
        -------
        Classifier

        Raises
        ------
        ArgumentError
            Bad data or an unknown recipe, before anything is trained.
        MemoryBudgetError
            If it needs more memory than available.
        Interrupted
            A signal ended the training of a network; its checkpoint, if there is one, is kept.
        """
        recipe = Recipe.of(recipe)
        recipe.check_classifier()
        if max_seconds is not None:
            checked_number("max_seconds", max_seconds, 0, np.inf, open_low=True)
        rows: Any = core.feature_rows(X, "X")
        labels: Any = label_rows(Y, "Y", None, rows.shape[0])
        if int((np.diff(labels.indptr) > 0).sum()) < 2:
            raise ArgumentError("Y", "fewer than two rows with a label", "at least two rows with a label")
        weighting, count = RowWeighting.of(rows), core.threads_or_default(threads)
        run = Fit(
            recipe=recipe.resolve(rows, labels),
            rows=Queries(rows, weighting(rows), count),
            labels=labels,
            threads=count,
            max_seconds=max_seconds,
            callbacks=callbacks,
            checkpoint=None if checkpoint is None else as_path(checkpoint),
            checkpoint_seconds=checkpoint_seconds,
            curve_rows=curve_rows,
            progress=progress,
            on_stage=on_stage,
        )
        parts, mixed = run.run()
        counts = np.bincount(labels.indices, minlength=labels.shape[1])
        told = run.stages, run.histories, mixed.thresholds, mixed.independent
        return cls(run.recipe, weighting, parts, mixed.mixture, counts, rows.shape[1], *told)

    @classmethod
    def fit_texts(
        cls,
        texts: Sequence[str],
        labels: Sequence[Iterable[str]],
        recipe: Recipe | str = "balanced",
        *,
        names: LabelNames | None = None,
        **options: Any,
    ) -> Self:
        """Train a classifier of texts with named labels.

        Parameters
        ----------
        texts : sequence of str
        labels : sequence of iterables of str
            The names of the labels of each text, or their identifiers if ``names`` has them.
        recipe : Recipe or str
            As for :meth:`fit`; its section ``text`` says how texts become rows.
        names : LabelNames, optional
            By default the names that occur.
        **options
            As for :meth:`fit`.

        Returns
        -------
        Classifier
            With ``vectorizer`` and ``names``, for :meth:`predict_texts`.

        Raises
        ------
        ArgumentError
            As :meth:`fit`; other numbers of texts and lists of labels; texts without a term that is frequent
            enough.
        LshsampleError
            scikit-learn is not installed.
        """
        recipe = Recipe.of(recipe)
        if len(texts) != len(labels):
            raise ArgumentError("labels", f"{len(labels)} lists", f"{len(texts)} lists, one for each text")
        names = LabelNames.of(labels) if names is None else names
        vectorizer = TextVectorizer.fit(texts, recipe.text)
        made = cls.fit(vectorizer.transform(texts), names.matrix(labels), recipe, **options)
        made.vectorizer, made.names = vectorizer, names
        return made

    @classmethod
    @memory.named_shortage("fitting a classifier")
    def fit_stream(
        cls,
        rows: StreamedRows,
        recipe: Recipe | str = "network",
        *,
        window: int = 64,
        parsers: int = 1,
        threads: int | None = None,
        max_seconds: float | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_seconds: float = 300.0,
        curve_rows: int = 0,
        on_stage: Callable[[Stage], None] | None = None,
    ) -> Self:
        """Train a classifier on rows of files that need not fit into memory.

        Parameters
        ----------
        rows : StreamedRows
            The rows, after a pass over them.
        recipe : Recipe or str
            A network alone, as other parts need all rows in memory. Its section ``text`` is that of the rows.
        window, parsers : int
            See :class:`~lshsample.streams.StreamBatches`.
        threads, max_seconds, callbacks, checkpoint, checkpoint_seconds, curve_rows, on_stage
            As for :meth:`fit`.

        Returns
        -------
        Classifier
            Of one part, the network; with ``vectorizer`` and ``names`` if the rows are texts. The rows that
            are held out give its probabilities, and are not trained on.

        Raises
        ------
        ArgumentError
            A recipe with other parts, before anything is trained.
        CheckpointError
            A file has changed since it was scanned.
        MemoryBudgetError
            If the network needs more memory than available.
        Interrupted
            A signal ended the training; its checkpoint, if there is one, is kept.
        """
        recipe = Recipe.of(recipe).resolve_stream(rows.shape)
        if rows.vectorizer is not None:
            recipe = attrs.evolve(recipe, text=rows.vectorizer.spec)
        run = StreamFit(
            recipe=recipe,
            rows=rows,
            window=window,
            parsers=parsers,
            threads=core.threads_or_default(threads),
            max_seconds=max_seconds,
            callbacks=callbacks,
            checkpoint=None if checkpoint is None else as_path(checkpoint),
            checkpoint_seconds=checkpoint_seconds,
            curve_rows=curve_rows,
            on_stage=on_stage,
        )
        parts, mixed = run.run()
        told = run.stages, run.histories, mixed.thresholds, mixed.independent
        made = cls(recipe, RowWeighting(None), parts, mixed.mixture, rows.counts, rows.n_features, *told)
        made.vectorizer, made.names = rows.vectorizer, rows.names
        return made

    def predict_texts(
        self, texts: Sequence[str], top: int | None = None, **options: Any
    ) -> list[list[tuple[str, float]]]:
        """The most probable labels of texts, by name, with their probabilities.

        Parameters
        ----------
        texts : sequence of str
        top : int, optional
            Labels per text; by default 5, or all if there are fewer.
        **options
            As for :meth:`predict`.

        Returns
        -------
        list of lists of (str, float)
            The best first.

        Raises
        ------
        ArgumentError
            The classifier was not fitted to texts.
        """
        vectorizer, names = self._of_texts()
        found = self.predict(vectorizer.transform(texts), top, **options)
        return [
            [(names.names[i], float(p)) for i, p in zip(*row, strict=True) if i >= 0]
            for row in zip(*found, strict=True)
        ]

    def _of_texts(self) -> tuple[TextVectorizer, LabelNames]:
        """What makes rows of texts, and the names of labels."""
        if self.vectorizer is None or self.names is None:
            raise ArgumentError(
                "texts", "texts", "left out: the classifier was fitted to rows (see fit_texts)"
            )
        return self.vectorizer, self.names

    @property
    def vectorizer(self) -> TextVectorizer | None:
        """What makes rows of texts; None if the classifier was fitted to rows."""
        return self._vectorizer.value

    @vectorizer.setter
    def vectorizer(self, value: TextVectorizer | None) -> None:
        self._vectorizer = Lazy(value)

    @property
    def names(self) -> LabelNames | None:
        """The names of the labels; None if they have none."""
        return self._names.value

    @names.setter
    def names(self, value: LabelNames | None) -> None:
        self._names = Lazy(value)

    @property
    def feature_names(self) -> list[str] | None:
        """The term of each feature; None if the classifier was fitted to rows, or to hashes of terms."""
        return None if self.vectorizer is None else self.vectorizer.terms

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return self.counts.size

    @property
    def network(self) -> Network:
        """The first network; ArgumentError if there is none."""
        part = self.parts.get("network")
        if not isinstance(part, NetworkPart):
            raise ArgumentError("classifier", f"one of {', '.join(self.parts)}", "one with a network")
        return part.networks[0]

    @property
    def n_parameters(self) -> int:
        """Weights of the networks and of the linear path."""
        total = 0
        for part in self.parts.values():
            if isinstance(part, NetworkPart):
                total += sum(network.n_parameters for network in part.networks)
            elif isinstance(part, LinearPart):
                total += part.n_weights
        return total

    def predict(
        self,
        X: Any,
        top: int | None = None,
        *,
        labels: npt.ArrayLike | None = None,
        exclude: npt.ArrayLike | None = None,
        threshold: float | str | npt.ArrayLike = 0.0,
        weights: npt.ArrayLike | Mapping[int, float] | None = None,
        scores: str = "probability",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The most probable labels of each row.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows.
        top : int, optional
            Labels per row; by default 5, or all if there are fewer.
        labels, exclude : sequences of int, optional
            The labels that may be named, and those that may not. A label that is named without them has the
            same probability with them.
        threshold : float, str or (n_labels,) array
            The smallest probability, of all labels or of each. ``"f1"`` is that of the largest F1 on
            held-out training rows; ``"f1-by-label"`` that of each label, where it has at least 10 such rows.
        weights : (n_labels,) array or mapping from labels to numbers, optional
            Multiply the probabilities of labels, and so change which are the best; of a mapping, other labels
            have the weight 1. Labels of the weight 0 are not named.
        scores : str
            ``"probability"``; ``"margin"``, the log odds, which do not round to 0 and 1; these are not
            weighted; or ``"independent"``, probabilities of each label by itself, which cost no more than
            the labels that may be named, and know less (Notes).
        threads : int, optional
            Number of threads; the result does not depend on it.
        progress : callable, optional
            Called with the numbers of rows that are done and of all rows.

        Returns
        -------
        labels : (rows, top) int32 array
            Best first (see the recipe's ``tail``), ties by the smaller label; -1 where there are fewer.
        scores : (rows, top) float32 array
            The probability that the label is one of the row's, times its weight, or the margin; 0 or -inf
            where the label is -1.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, ``top`` above the number of labels, labels out of
            range, a threshold that is not known, negative weights, weights of margins, or independent
            probabilities with a named threshold or of more than 1,000 labels.
        CheckpointError
            The files of a loaded classifier were written to since, instead of replaced by :meth:`save`.

        Notes
        -----
        Without a filter the best labels are those of all parts' candidates. Up to 1,000 allowed labels are
        scored for every row, each by its own weights alone: 10 labels cost 10 products in each part, beside
        what finds the candidates, to which probabilities are relative. With more, all that are allowed are
        scored for the rows whose candidates are not enough for ``top`` of them.

        With ``"independent"`` no candidates are looked for: a probability is that of a second mixture, of
        values that depend on the label alone. A softmax is divided by what a linear function of the hidden
        vector expects of its sum.
        """
        for file in self._files:
            file.check()
        rows: Any = core.feature_rows(X, "X", self.n_features)
        top = min(5, self.n_labels) if top is None else top
        top = checked_integer("top", top, 1, self.n_labels, ", the number of labels")
        least = self._least(threshold)
        gone = self.removed
        if exclude is not None:
            gone = np.append(checked_ids("exclude", exclude, self.n_labels), gone)
        asked = LabelFilter.of(self.n_labels, labels, gone, weights)
        if scores not in SCORES:
            raise ArgumentError("scores", repr(scores), f"one of {', '.join(map(repr, SCORES))}")
        margins, count = scores == "margin", core.threads_or_default(threads)
        if margins and weights is not None:
            raise ArgumentError("weights", "weights of margins", "left out with scores='margin'")
        if scores == "independent":
            self._check_independent(asked, threshold)
        ask = functools.partial(self._ask, top=top, asked=asked, scores=scores, threads=count)
        found = np.full((rows.shape[0], top), -1, np.int32)
        best = np.zeros((rows.shape[0], top), np.float32)
        size = asked.n_rows(_BATCH) if asked.is_few else _BATCH
        for start in range(0, rows.shape[0], size):
            part = slice(start, min(start + size, rows.shape[0]))
            found[part], best[part] = ask(rows[part], exact=asked.is_few)
            if asked.allowed is not None and not asked.is_few:
                enough = min(top, len(asked.ids))
                short = start + np.flatnonzero((found[part] >= 0).sum(axis=1) < enough)
                for few in np.array_split(short, -(-len(short) // asked.n_rows(_BATCH)) or 1):
                    found[few], best[few] = ask(rows[few], exact=True)
            if progress is not None:
                progress(part.stop, rows.shape[0])
        floor = least[found] if isinstance(least, np.ndarray) else least
        below = best < (_log_odds(floor) if margins else floor)
        found[below], best[below] = -1, -np.inf if margins else 0.0
        return found, best

    def _ask(
        self, rows: Any, *, top: int, asked: LabelFilter, scores: str, threads: int, exact: bool
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The best labels of a batch, among the parts' candidates or all that are allowed."""
        if not rows.shape[0]:
            return np.empty((0, top), np.int32), np.empty((0, top), np.float32)
        queries, width = Queries(rows, self.weighting(rows), threads), max(self.recipe.candidates, top)
        mixture = self.mixture
        if scores == "independent":
            assert self.independent is not None
            mixture = self.independent
            scored = independent_values(self.parts, mixture.parts, queries, asked.ids)
        else:
            scored = {name: self.parts[name].top_k(queries, width) for name in mixture.parts}
            if exact:
                scored = with_labels(self.parts, scored, queries, asked.ids)
        return mixture.predict(
            scored,
            self.counts,
            top,
            allowed=asked.allowed,
            factors=asked.weights,
            margins=scores == "margin",
            threads=threads,
        )

    def _check_independent(self, asked: LabelFilter, threshold: Any) -> None:
        """Refuse independent probabilities of old models, of many labels, and with named thresholds."""
        if self.independent is None:
            wanted = "another kind, as the classifier was fitted by a version without these"
            raise ArgumentError("scores", "'independent'", wanted)
        if not asked.is_few:
            given = "all labels" if asked.allowed is None else f"{len(asked.ids):,} labels"
            raise ArgumentError("labels", given, f"at most {MAX_FEW:,} labels with scores='independent'")
        if isinstance(threshold, str):
            wanted = "a number or an array with scores='independent'"
            raise ArgumentError("threshold", repr(threshold), wanted)

    def _least(self, threshold: float | str | npt.ArrayLike) -> float | npt.NDArray[np.float32]:
        """The checked threshold: of all labels, or of each."""
        if isinstance(threshold, str):
            if threshold not in THRESHOLDS:
                names = ", ".join(map(repr, THRESHOLDS))
                raise ArgumentError("threshold", repr(threshold), f"a number, an array, or one of {names}")
            if self.thresholds is None:
                wanted = "a number, as the classifier was fitted by a version that chose no thresholds"
                raise ArgumentError("threshold", repr(threshold), wanted)
            return self.thresholds.overall if threshold == "f1" else self.thresholds.by_label
        if not np.ndim(threshold):
            return checked_number("threshold", threshold, 0, 1)
        given = np.asarray(threshold, np.float32)
        if given.shape != (self.n_labels,) or not ((given >= 0) & (given <= 1)).all():
            wanted = f"a number from 0 to 1, or an array of {self.n_labels} of them"
            raise ArgumentError("threshold", f"an array of shape {given.shape}", wanted)
        return given

    # Changes.

    @memory.named_shortage("updating a classifier")
    def update(
        self, X: Any, Y: Any, *, network: str = "labels", holdout: float = 0.0, threads: int | None = None
    ) -> Self:
        """Learn from new rows, with new labels and features, without a pass over the former rows.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features or more)
            Feature rows; columns beyond those of the classifier are new features.
        Y : csr_array or array, shape (rows, n_labels or more)
            1 for a label, 0 for none, or lists of ids; columns beyond those of the classifier are new labels.
            A label that was removed is there again if a row has it.
        network : str
            What is trained of networks: ``"labels"``, the weights of labels that had no row before, so that
            the scores of the others stay; ``"all"``, all weights, by two passes at a fifth of the learning
            rate, after which all training rows get their hidden vectors again; ``"none"``.
        holdout : float
            The share of the new rows with labels, up to 0.9 and 5,000 rows, by which the mixture, its
            calibration and the thresholds are fitted again; the recipe's seed chooses them. With 0 these
            stay.
        threads : int, optional
            Number of threads; the classifier does not depend on it.

        Returns
        -------
        Classifier
            Itself; it must not predict in other threads meanwhile.

        Raises
        ------
        ArgumentError
            Bad data; nothing was changed.

        Notes
        -----
        The new rows are neighbours from now on. The linear path gets a model of the labels that had no row
        before, trained on the new rows; what it says of others stays. A label that has a text but no row yet
        begins with the text as its row.

        Rows that are held out come last, as neighbours and for labels that no other new row has; nothing else
        is trained on them.
        """
        if network not in NETWORK_UPDATES:
            names = ", ".join(map(repr, NETWORK_UPDATES))
            raise ArgumentError("network", repr(network), f"one of {names}")
        rows: Any = core.feature_rows(X, "X")
        if rows.shape[1] < self.n_features or not rows.shape[0]:
            wanted = f"at least one row of at least {self.n_features} columns"
            raise ArgumentError("X", f"shape {rows.shape}", wanted)
        labels: Any = label_rows(Y, "Y", None, rows.shape[0])
        if sp.issparse(Y) or isinstance(Y, np.ndarray):
            wanted = f"a matrix of at least {self.n_labels} columns"
            if labels.shape[1] < self.n_labels:
                raise ArgumentError("Y", f"{labels.shape[1]} columns", wanted)
        labels = widened(labels, self.n_labels)
        counts = np.pad(self.counts, (0, labels.shape[1] - self.n_labels))
        more = np.bincount(labels.indices, minlength=labels.shape[1])
        if checked_number("holdout", holdout, 0, 0.9):
            held, kept = self._held_out(labels, holdout)
            self.update(rows[kept], labels[kept], network=network, threads=threads)
            self._refit(rows[held], labels[held], core.threads_or_default(threads))
            last = "labels" if network == "all" else network
            return self.update(rows[held], labels[held], network=last, threads=threads)
        n_rows = self.mixture.n_rows + rows.shape[0]
        weighting = self.weighting.widened(rows, n_rows)
        count = core.threads_or_default(threads)
        update = Update(
            recipe=self.recipe,
            rows=Queries(rows, weighting(rows), count),
            labels=labels,
            n_rows=n_rows,
            fresh=np.flatnonzero((counts == 0) & (more > 0)),
            network=network,
        )
        parts = update.run(self.parts)
        if self.thresholds is not None:
            new = np.full(labels.shape[1] - self.n_labels, self.thresholds.overall, np.float32)
            by_label = np.append(self.thresholds.by_label, new)
            self.thresholds = attrs.evolve(self.thresholds, by_label=by_label)
        self.mixture = attrs.evolve(self.mixture, n_rows=n_rows)
        if self.independent is not None:
            self.independent = attrs.evolve(self.independent, n_rows=n_rows)
        self.removed = self.removed[more[self.removed] == 0]
        self.weighting, self.parts, self.counts, self.n_features = (
            weighting,
            parts,
            counts + more,
            rows.shape[1],
        )
        return self

    def _held_out(self, labels: Any, holdout: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The new rows that are held out, and the others."""
        with_labels = np.flatnonzero(np.diff(labels.indptr))
        count = attrs.evolve(self.recipe, holdout=holdout).n_held_out(len(with_labels))
        if len(with_labels) <= count:
            given = f"{holdout:g} of {len(with_labels)} rows with labels"
            raise ArgumentError("holdout", given, "a share that leaves some of the rows with labels")
        rng = np.random.default_rng((self.recipe.seed, self.mixture.n_rows, labels.shape[0]))
        held = np.sort(rng.choice(with_labels, count, replace=False))
        return held, np.setdiff1d(np.arange(labels.shape[0]), held)

    def _refit(self, rows: Any, truth: Any, threads: int) -> None:
        """Fit the mixtures and the thresholds again, by rows that no part has seen."""
        queries, k = Queries(rows, self.weighting(rows), threads), self.recipe.candidates
        scored = {name: self.parts[name].top_k(queries, k) for name in self.mixture.parts}
        self.mixture = self.mixture.refitted(scored, truth, self.counts)
        if self.independent is not None:
            alone = {name: self.parts[name].made_independent(queries, scored[name]) for name in scored}
            self.independent = self.independent.refitted(alone, truth, self.counts)
        if self.thresholds is not None:
            found = self.mixture.predict(scored, self.counts, min(k, self.n_labels), threads=threads)
            self.thresholds = self.thresholds.refitted(*found, truth)

    def update_texts(
        self, texts: Sequence[str], labels: Sequence[Iterable[str]], *, new_terms: bool = True, **options: Any
    ) -> Self:
        """Learn from new texts; names that are not known are new labels.

        Parameters
        ----------
        texts : sequence of str
        labels : sequence of iterables of str
            The names or identifiers of the labels of each text.
        new_terms : bool
            Whether terms that are not known become new features, if as many of the texts have them as the
            vectorizer asks for (``min_df``, ``max_features``). Scores of texts without new terms do not
            depend on it, apart from what is learned of the texts.
        **options
            As for :meth:`update`.

        Returns
        -------
        Classifier
            Itself.

        Raises
        ------
        ArgumentError
            As :meth:`update`; the classifier was not fitted to texts.
        """
        vectorizer, names = self._of_texts()
        if len(texts) != len(labels):
            raise ArgumentError("labels", f"{len(labels)} lists", f"{len(texts)} lists, one for each text")
        names = names.extended(labels)
        if new_terms:
            vectorizer = vectorizer.extended(texts, self.mixture.n_rows)
        self.update(vectorizer.transform(texts), names.matrix(labels), **options)
        self.names, self.vectorizer = names, vectorizer
        return self

    def remove_labels(self, ids: npt.ArrayLike) -> Self:
        """Take labels away: they are not named any more, and the scores of all others stay to the bit.

        Parameters
        ----------
        ids : sequence of int
            Labels. The ids of the others stay.

        Returns
        -------
        Classifier
            Itself.

        Raises
        ------
        ArgumentError
            Ids out of range, or all labels that are left.

        Notes
        -----
        Their weights and rows stay, as the probabilities of the others are relative to them. A label is
        there again after an :meth:`update` with a row that has it.
        """
        removed = np.union1d(self.removed, checked_ids("ids", ids, self.n_labels))
        if len(removed) == self.n_labels:
            raise ArgumentError("ids", "all labels", "some of the labels")
        self.removed = removed
        return self

    def evaluate(
        self,
        X: Any,
        Y: Any,
        top: Sequence[int] = (1, 3, 5),
        *,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, float]:
        """Precision at each k, in percent: ``{"p@1": ..., "p@3": ..., "p@5": ...}``.

        Parameters
        ----------
        X, Y : csr_array or array, shapes (rows, n_features) and (rows, n_labels)
            Feature rows, and their labels.
        top : sequence of int
            The values of k, as far as there are as many labels.
        threads, progress
            As for :meth:`predict`.
        """
        wanted = [checked_integer("top", k, 1) for k in top if k <= self.n_labels]
        found, _ = self.predict(X, max(wanted), threads=threads, progress=progress)
        truth = label_rows(Y, "Y", self.n_labels, len(found))
        return {f"p@{k}": 100.0 * float(precision_at_k(found, truth, k)) for k in wanted}

    # Folders.

    def save(self, path: str | PathLike[str]) -> None:
        """Write the classifier to a folder, atomically; an older one in it is replaced.

        Raises
        ------
        CheckpointError
            If the folder holds other files, cannot be written, or is in use by another process.
        """
        write_files(self, path)

    def to_onnx(
        self,
        path: str | PathLike[str],
        parts: Sequence[str] | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write the classifier as an ONNX file for dense rows; an older file is replaced atomically.

        Its inputs are ``x`` (float32, (rows, n_features)), feature rows as :meth:`predict` takes them, and
        ``top`` (int64, (1,)). Its outputs are ``labels`` (int64) and ``scores`` (float32), (rows, top), as
        of :meth:`predict`, up to rounding.

        Parameters
        ----------
        path : path
        parts : sequence of str, optional
            The parts that are written; by default all that are mixed. Of others than these the outputs are
            what each part says, by its name: ``linear_labels`` and ``linear_values``, for one.
        metadata : mapping of str to str, optional
            Properties of the model that are written with it.

        Raises
        ------
        LshsampleError
            The package onnx is not installed.
        UnsupportedError
            A part with features for pairs or with hash tables, or a network with a layer of another package.
        ArgumentError
            No part or an unknown one, or parts whose dense matrices take more than 2 GiB.
        MemoryBudgetError
            More memory is needed than available.

        Notes
        -----
        Matrices are dense: the linear path has 4 bytes for each feature and child of a node, neighbours for
        each feature (or hidden unit) and training row. A prediction multiplies a row with all of them. Texts
        become rows outside of it.
        """
        try:
            from lshsample.xc.onnx_file import write_classifier
        except ModuleNotFoundError as error:
            raise needs_extra("to_onnx", "onnx", error) from error
        names = self.mixture.parts if parts is None else tuple(dict.fromkeys(parts))
        if isinstance(parts, str) or not names or not set(names) <= set(self.parts):
            wanted = f"a list of some of {', '.join(self.parts)}"
            raise ArgumentError("parts", repr(parts), wanted)
        write_classifier(self, names, as_path(path), metadata or {})

    @classmethod
    @memory.named_shortage("loading a classifier")
    def load(cls, path: str | PathLike[str], *, verify: bool = False) -> Self:
        """Open a classifier written by :meth:`save`, or the model in a run's folder.

        Parameters
        ----------
        path : path
            The folder. Its files are mapped into memory: opening reads none of their arrays, and processes
            that open it share them. :meth:`save` replaces them without a change to those that are in use;
            nothing else may write to them.
        verify : bool
            Compare all files with their checksums, which reads them. Without it the manifest and the sizes
            are verified. A file whose content was damaged can give wrong labels then, and is not read
            outside of its arrays.

        Raises
        ------
        CheckpointError
            If it is missing, truncated, changed, of another kind or of another version.
        """
        with read_bundle(model_folder(path), CLASSIFIER, verify=verify) as bundle:
            found = Contents.read(bundle)
        made = cls(
            found.recipe,
            found.weighting,
            found.parts,
            found.mixture,
            found.counts,
            found.n_features,
            found.stages,
            thresholds=found.thresholds,
            independent=found.independent,
        )
        made.removed, made._files = found.removed, found.files
        made._vectorizer, made._names = found.vectorizer, found.names
        return made

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: arrays of mapped files are copied, and then do not depend on them."""
        return self.__dict__ | {"_files": ()}

    def __repr__(self) -> str:
        parts = ", ".join(self.mixture.parts)
        return f"Classifier({self.n_features:,} features, {self.n_labels:,} labels: {parts})"


def load_model(path: str | PathLike[str], *, verify: bool = False) -> Network | Classifier:
    """The model in a folder of any kind, or in that of a run; as :meth:`Classifier.load`.

    Networks alone are read into memory, and always verified.
    """
    folder = model_folder(path)
    if kind_of(folder) == CLASSIFIER.name:
        return Classifier.load(folder, verify=verify)
    return Network.load(folder)


def load_network(path: str | PathLike[str]) -> Network:
    """The network in a folder, or the first one of a classifier in it; ArgumentError if there is none."""
    model = load_model(path)
    return model.network if isinstance(model, Classifier) else model


def _log_odds(probability: Any) -> Any:
    """The log odds of probabilities from 0 to 1."""
    with np.errstate(divide="ignore"):
        return np.log(probability) - np.log1p(-np.asarray(probability))
