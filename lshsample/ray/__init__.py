"""Networks trained and served on several processes and machines by Ray (the extra ``ray``)."""

from __future__ import annotations

from lshsample.ray.cluster import Cluster, cluster_resources
from lshsample.ray.cost import StepCost, step_cost
from lshsample.ray.metrics import RayMetrics
from lshsample.ray.network import ShardedNetwork
from lshsample.ray.parallel import data_parallel
from lshsample.ray.scaling import StepModel, StepTime
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
    "step_cost",
]
