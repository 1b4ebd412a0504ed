"""Sparse coding by spiking neurons: codes over large dictionaries, and learned dictionaries."""

from lshsample.coding.learning import TwoPhaseLearning
from lshsample.coding.spiking import Encoding, SpikingLCA

__all__ = ["Encoding", "SpikingLCA", "TwoPhaseLearning"]
