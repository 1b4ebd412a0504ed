"""A network whose output layer is spread over workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Self

from lshsample.errors import ArgumentError
from lshsample.nn import Layer, Network, NetworkSpec, Sampled, Sharded
from lshsample.nn.sharded import ShardedLayer
from lshsample.ray.cluster import Cluster, RayShards
from lshsample.training import Trainer

__all__ = ["ShardedNetwork"]


class ShardedNetwork(Network):
    """A network whose last layer is in blocks of labels, which are spread over workers on Ray.

    It is used like any other :class:`~lshsample.Network`: a :class:`~lshsample.Trainer` trains it, it
    predicts, evaluates and saves. A step sends each worker the hidden rows of the batch, and the maxima and
    sums of the loss; a worker returns its own ones and the gradient of the hidden rows. None of them grows
    with the number of labels. The layers below are in this process.

    The weights have the same bits for any number of workers, as those of a :class:`~lshsample.Network` of the
    same layers in one process, and whether or not workers died.

    Parameters
    ----------
    layers : sequence of Layer
        As for :class:`~lshsample.Network`; the last one is a :class:`~lshsample.nn.Sharded`, or a
        :class:`~lshsample.nn.Sampled` that is made one with 8 blocks.
    seed : int
        Determines the initial weights and the hash functions.
    cluster : Cluster
        The workers.

    Raises
    ------
    ArgumentError
        If the last layer is neither, or the cluster has too few CPUs.
    UnsupportedError
        If Ray is not installed.

    Notes
    -----
    The processes end with :meth:`close`, or at the end of a ``with`` block.
    """

    def __init__(self, layers: Sequence[Layer], seed: int = 0, *, cluster: Cluster | None = None) -> None:
        cluster = Cluster() if cluster is None else cluster
        if not isinstance(cluster, Cluster):
            raise ArgumentError("cluster", repr(cluster), "a Cluster")
        spec = NetworkSpec(layers, seed)
        *below, last = spec.layers
        if not isinstance(last, Sampled):
            raise ArgumentError("layers[-1]", repr(last), "a Sharded or a Sampled layer")
        last = Sharded.of(last)
        cluster.check(last)
        super().__init__([*below, last], seed)
        self.cluster = cluster
        assert isinstance(self.output, ShardedLayer)
        self._shards = RayShards(last, self.output.context, cluster)
        self.output.shards = self._shards

    @property
    def shards(self) -> RayShards:
        """The workers."""
        return self._shards

    @classmethod
    def from_spec(cls, spec: NetworkSpec, *, cluster: Cluster | None = None) -> Self:
        """A network from its spec, with initial weights."""
        return cls(spec.layers, spec.seed, cluster=cluster)

    @classmethod
    def load(cls, path: str | PathLike[str], *, cluster: Cluster | None = None) -> Self:
        """Read a network written by :meth:`save` with any number of workers, or by a
        :class:`~lshsample.Network` with a :class:`~lshsample.nn.Sharded` layer.

        Raises
        ------
        CheckpointError
            As :meth:`Network.load <lshsample.Network.load>`.
        """
        return cls._read(path, partial(cls._made, cluster=cluster))

    @classmethod
    def resume(cls, path: str | PathLike[str], *, cluster: Cluster | None = None, **options: Any) -> Trainer:
        """A trainer restored from a checkpoint, as :meth:`Trainer.resume <lshsample.Trainer.resume>`, with
        its network on workers; their number may be another one than before.
        """
        return Trainer.resume(path, made=partial(cls._made, cluster=cluster), **options)

    @classmethod
    def _made(cls, spec: NetworkSpec, cluster: Cluster | None) -> Self:
        if not isinstance(spec.layers[-1], Sharded):
            raise ArgumentError("layers[-1]", repr(spec.layers[-1]), "a Sharded layer, to be read by workers")
        return cls.from_spec(spec, cluster=cluster)

    def close(self) -> None:
        """End the workers, and Ray if it was started for them."""
        self._shards.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Sharded{super().__repr__()[:-1]}, workers={self.cluster.workers})"
