"""How the classes of a step are sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy.typing as npt

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.nn.sampled import ACTIVE_SETS
from lshsample.registry import FamilyLike
from lshsample.sampling import Include, Pipeline, Rehash, Stage, make_pipeline

__all__ = ["SamplingOptions"]

#: Budgets of a named pipeline, for steps of a few milliseconds.
_ACTIVE = {"batch": 4096, "sample": 512}


def _rehash(value: Rehash | Mapping[str, Any] | int) -> Rehash:
    return Rehash.of(value)


@attrs.frozen(kw_only=True, eq=False)
class SamplingOptions:
    """How a layer draws its active classes, corrects their loss, and returns gradients.

    Attributes
    ----------
    sampler : str, Pipeline or Stage
        The pipeline: an instance, its text (``"Retrieve() | Cap(1000) | Uniform(1000)"``) or its name
        (``"lsh"``, ``"uniform"``, ``"full"``, ...). ``Include()``, which adds the labels of the batch, is
        appended if it is missing.
    n_active : int, optional
        Classes that a pipeline given by name draws; by default 4096, and 512 per row with
        ``active_set="sample"``.
    family : str, HashFamily, FamilySpec or mapping
        Hash family of the classes' weight rows, as for :func:`lshsample.make_family`.
    n_hashes, n_tables : int, optional
        Hashes per table and tables, for a family given as text; by default 16 tables, and codes that grow
        with the number of classes.
    active_set : str
        ``"batch"``: all rows of a batch share one set, in dense products; ``"sample"``: a set for each row.
    importance : str
        ``"on"``: logits and sums are corrected by inclusion probabilities, so that sums over the active set
        are unbiased estimates of those over all classes; a pipeline without such probabilities raises
        BiasedSampleError. ``"off"``: the loss of the active set as it is.
    rehash : Rehash, mapping or int
        When the tables are rebuilt from the current weights; an integer is a period in steps, 0 for never.
    frequencies : (num_classes,) array, optional
        Frequency of each class, for pipelines that draw by it.
    backend : str
        ``"core"``: tables, draws and loss by the C core, on the CPU. ``"torch"``: by tensor operations, on
        the device of the parameters, with the same active sets for the same codes.
    hashing : str, optional
        How ``backend="torch"`` hashes, as for :meth:`TorchTables.build`: ``"matmul"``, the default, on the
        device, or ``"core"``.
    sparse : bool
        Whether gradients of the parameters are sparse COO tensors of the active rows, for
        :class:`~lshsample.torch.RowAdam` and ``torch.optim.SparseAdam``; else they are dense.
    seed : int
        Determines hash functions and draws, together with the step.
    """

    sampler: str | Pipeline | Stage = "lsh"
    n_active: int | None = attrs.field(default=None, validator=attrs.validators.optional(specs.integer(1)))
    family: FamilyLike = "simhash"
    n_hashes: int | None = None
    n_tables: int | None = None
    active_set: str = attrs.field(default="batch", validator=specs.one_of(*ACTIVE_SETS))
    importance: str = attrs.field(default="on", validator=specs.one_of("on", "off"))
    rehash: Rehash = attrs.field(factory=Rehash, converter=_rehash)
    frequencies: npt.ArrayLike | None = attrs.field(default=None, repr=False)
    backend: str = attrs.field(default="core", validator=specs.one_of("core", "torch"))
    hashing: str | None = None
    sparse: bool = attrs.field(default=False, validator=specs.one_of(True, False))
    seed: int = attrs.field(default=0, validator=specs.integer(0, 2**63 - 1))

    def __attrs_post_init__(self) -> None:
        if self.hashing is not None and self.backend == "core":
            raise ArgumentError("hashing", repr(self.hashing), 'left out with backend="core"')

    def pipeline(self, num_classes: int) -> Pipeline:
        """The stages for this number of classes; they include the labels of the batch."""
        made = self.sampler
        if isinstance(made, str):
            budget = _ACTIVE[self.active_set] if self.n_active is None else self.n_active
            made = make_pipeline(made, n_active=budget, n_items=num_classes)
        elif self.n_active is not None:
            raise ArgumentError("n_active", self.n_active, "left out, as the sampler is not given by name")
        if isinstance(made, Stage):
            made = Pipeline((made,))
        if not isinstance(made, Pipeline):
            raise ArgumentError("sampler", repr(made), "a Pipeline, a Stage, or text")
        return made if made.forces_ids or str(made) == "Full()" else made | Include()
