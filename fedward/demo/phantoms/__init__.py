"""Phantom chest radiographs of four invented hospitals, as real DICOM: what `fedward demo` trains on.

    hospitals = write_hospitals(Path("demo-out/hospitals"), seed=7)

No patient exists, no image was ever taken: everything follows from the seed.
"""

from fedward.demo.phantoms.hospitals import Hospital, write_hospitals
from fedward.demo.phantoms.misfits import Misfit

__all__ = ["Hospital", "Misfit", "write_hospitals"]
