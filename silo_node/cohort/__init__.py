"""The cohort store: a hospital's curated images and labels, read through a memory map (docs/cohort-store.md).

Light on purpose: numpy, msgspec and the standard library only, so that training processes start quickly.
"""

from silo_node.cohort.sample import Sample
from silo_node.cohort.store import CohortStore
from silo_node.cohort.writer import StoreWriter

__all__ = ["CohortStore", "Sample", "StoreWriter"]
