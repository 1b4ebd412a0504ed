"""Networks whose output layer is spread over processes and machines by Ray (the extra ``ray``)."""

from __future__ import annotations

from lshsample.ray.cluster import Cluster, cluster_resources
from lshsample.ray.cost import StepCost, step_cost
from lshsample.ray.network import ShardedNetwork
from lshsample.ray.serving import application

__all__ = ["Cluster", "ShardedNetwork", "StepCost", "application", "cluster_resources", "step_cost"]
