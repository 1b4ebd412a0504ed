"""A sampler stage for lshsample: candidates ranked by exact inner products."""

import attrs
import numpy as np

from lshsample.plugin import ActiveSet, ArgumentError, Batch, SamplerStage, hookimpl, integer

__all__ = ["Rescore", "lshsample_sampler_stages"]


@attrs.frozen
class Rescore(SamplerStage):
    """Keeps the ids of each row with the largest inner products with their query, and forced ids.

    Parameters
    ----------
    k : int
        Ids to keep in each row; pooled, by their largest inner product with any query of the batch.

    Notes
    -----
    The usual second step of a search by hashing (Lv et al., VLDB 2007). It is deterministic: followed by
    ``Uniform``, inclusion probabilities conditional on its output are exact. Cost: dim multiplications for each
    candidate.
    """

    k: int = attrs.field(validator=integer(1, 2**31 - 2))

    def needs(self) -> frozenset[str]:
        """Queries."""
        return frozenset({"queries"})

    def apply(self, active: ActiveSet, batch: Batch) -> ActiveSet:
        """The k best ids of each row, and its forced ids."""
        vectors = batch.vectors
        if vectors is None and batch.state is not None:
            vectors = batch.state.vectors
        if vectors is None:
            raise ArgumentError("vectors", "nothing", f"given for {self}: bind(..., vectors=...)")
        assert batch.queries is not None, "they are needed, see needs()"
        keep = np.zeros(len(active.ids), bool)
        for row in range(active.n_rows):
            mine = slice(active.indptr[row], active.indptr[row + 1])
            ids, queries = active.ids[mine], batch.queries if batch.pooled else batch.queries[row : row + 1]
            scores = queries @ vectors[ids].T
            best = (scores if isinstance(scores, np.ndarray) else scores.toarray()).max(
                axis=0, initial=-np.inf
            )
            keep[mine.start + np.argsort(-best, kind="stable")[: self.k]] = True
            keep[mine] |= np.isin(ids, self._forced(batch, row))
        return active.keep(keep)

    @staticmethod
    def _forced(batch: Batch, row: int) -> np.ndarray:
        if batch.include is None:
            return np.empty(0, np.int32)
        indptr, ids = batch.include
        return ids if batch.pooled else ids[indptr[row] : indptr[row + 1]]


@hookimpl
def lshsample_sampler_stages() -> dict[str, type[SamplerStage]]:
    """The stages of this package, by name."""
    return {"Rescore": Rescore}
