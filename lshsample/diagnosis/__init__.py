"""Whether sampling a layer of a network would pay: where time goes, what few units do, what tables find."""

from lshsample.diagnosis.lookups import Lookup
from lshsample.diagnosis.network import diagnose
from lshsample.diagnosis.result import Diagnosis

__all__ = ["Diagnosis", "Lookup", "diagnose"]
