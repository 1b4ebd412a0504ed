"""Where the shards of a layer are: in this process, or elsewhere behind the same interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lshsample.nn.layer import BuildContext
from lshsample.nn.shard import Shard
from lshsample.nn.sums import ranges

if TYPE_CHECKING:
    from lshsample.nn.sharded import Sharded

__all__ = ["LocalShards", "Shards"]


class Shards(ABC):
    """The shards of a layer, in the order of their units.

    Attributes
    ----------
    is_local : bool
        Whether they are in this process, and use its memory.
    bounds : list of (int, int)
        First unit and last unit + 1 of each.
    exchanged : int
        Bytes sent to and received from the busiest of them so far; 0 in this process.
    """

    is_local: bool
    bounds: list[tuple[int, int]]
    exchanged: int = 0

    def __len__(self) -> int:
        return len(self.bounds)

    @abstractmethod
    def ask(self, method: str, each: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of each :class:`~lshsample.nn.shard.Shard`, and wait for what it returns.

        Parameters
        ----------
        method : str
            Its name.
        each : sequence of tuple
            The arguments for each shard.
        """

    def tell(self, method: str, each: Sequence[tuple[Any, ...]]) -> None:
        """Call a method of each shard whose result is not needed; an error may appear at a later call."""
        self.ask(method, each)

    def ask_all(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of each shard with the same arguments."""
        return self.ask(method, [arguments] * len(self))


class LocalShards(Shards):
    """Shards in this process.

    Parameters
    ----------
    spec : Sharded
        The layer.
    context : BuildContext
        Its place in the network.
    n : int
        Number of shards, a power of two up to the number of blocks; results do not depend on it.
    """

    is_local = True

    def __init__(self, spec: Sharded, context: BuildContext, n: int = 1) -> None:
        self.shards = [Shard(spec, context, *pair) for pair in ranges(spec.blocks, n)]
        self.bounds = [(shard.first, shard.last) for shard in self.shards]

    def ask(self, method: str, each: Sequence[tuple[Any, ...]]) -> list[Any]:
        """As :meth:`Shards.ask`, one after another."""
        return [
            getattr(shard, method)(*arguments) for shard, arguments in zip(self.shards, each, strict=True)
        ]
