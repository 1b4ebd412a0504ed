"""Networks trained and served on several processes and machines by Ray (the extra ``ray``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lshsample.ray.cluster import Cluster, cluster_resources
from lshsample.ray.cost import StepCost, step_cost
from lshsample.ray.data import dataset_files, dataset_rows, dataset_texts
from lshsample.ray.metrics import RayMetrics
from lshsample.ray.network import ShardedNetwork
from lshsample.ray.parallel import data_parallel
from lshsample.ray.scaling import StepModel, StepTime

if TYPE_CHECKING:
    from lshsample.ray.serving import application

__all__ = [
    "Cluster",
    "RayMetrics",
    "ShardedNetwork",
    "StepCost",
    "StepModel",
    "StepTime",
    "application",
    "cluster_resources",
    "data_parallel",
    "dataset_files",
    "dataset_rows",
    "dataset_texts",
    "step_cost",
]


def __getattr__(name: str) -> Any:
    """``application``, when it is asked for: it needs the packages of the extra ``ray-serve``."""
    if name != "application":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lshsample.ray.serving import application

    return application
