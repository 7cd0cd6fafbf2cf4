"""The four invented hospitals: whom they serve, what they image with, and what is wrong with their exports.

They differ on purpose (non-IID): in size, in prevalence, in age, in machine and in encoding. None of them can learn the
task well alone. St Brigid carries the PLANTED ACQUISITION BIAS that a fairness audit should find: see `Bias`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedward.demo.phantoms.acquisition import Machine
from fedward.demo.phantoms.cohort import Mix
from fedward.demo.phantoms.device import Device, Grey
from fedward.demo.phantoms.misfits import Misfit


@dataclass(frozen=True)
class Bias:
    """A wrong preset that hits one group: factors on what the machine does to everyone else."""

    dose: float = 1.0
    scatter: float = 1.0
    contrast: float = 1.0  # of the opacity itself: what a hard beam and motion blur leave of it


FAIR = Bias()
_PLANTED = " PLANTED BIAS: "


@dataclass(frozen=True)
class Site:
    """One hospital, before its images exist."""

    name: str
    description: str
    mix: Mix
    conspicuity: float  # usual thickness of an opacity, cm of water
    machine: Machine
    device: Device
    misfits: tuple[Misfit, ...]
    women: Bias = FAIR
    cines: int = 0  # multi-frame files: a breath in three frames
    lines: bool = False  # chest leads and tubes of intensive care
    nested: bool = False  # one sub-folder a patient and study, as a PACS exports


NORTHGATE = Site(
    name="northgate",
    description=(
        "Northgate University Hospital: large; digital radiography, 14 bits, two windows, a few films of three frames; "
        "30 % of patients with an opacity."
    ),
    mix=Mix(patients=720, prevalence=0.30, women=0.48, age=58, age_spread=17, visits=(0.55, 0.3, 0.15)),
    conspicuity=8.0,
    machine=Machine(
        rows=144, columns=128, attenuation=0.17, dose=8, scatter=0.5, blur=0.6, sharpen=0.4, gamma=0.65, spread=0.05
    ),
    device=Device(
        maker="Kestrel Imaging",
        model="Aria DR 4300",
        station="NGDR02",
        institution="Northgate University Hospital",
        prefix="NG",
        bits=14,
        windows=True,
        pixel_spacing=2.9,
        private_header=True,
    ),
    misfits=(
        Misfit.TRUNCATED,
        Misfit.NOT_DICOM,
        Misfit.NO_PIXELS,
        Misfit.NO_LABEL,
        Misfit.DUPLICATE,
        Misfit.BURNED_IN,
    ),
    cines=2,
    nested=True,
)

HARBOUR = Site(
    name="harbour",
    description=(
        "Harbour General: screening of younger people, 17 % with an opacity; computed radiography, MONOCHROME1, 10 bits, "
        "RLE, rescaled."
    ),
    mix=Mix(patients=580, prevalence=0.17, women=0.52, age=46, age_spread=16, visits=(0.6, 0.3, 0.1)),
    conspicuity=8.0,
    machine=Machine(
        rows=128, columns=128, attenuation=0.21, dose=2.5, scatter=0.8, blur=1.1, sharpen=0.0, gamma=0.8, spread=0.07
    ),
    device=Device(
        maker="Lumenward",
        model="PlateReader 75",
        station="HGCR1",
        institution="Harbour General",
        prefix="HG",
        bits=10,
        grey=Grey.INVERTED,
        rescale=(4.0, -200.0),
        windows=True,
        syntax="RLE",
        computed=True,
        pixel_spacing=3.1,
    ),
    misfits=(Misfit.TRUNCATED, Misfit.NOT_DICOM, Misfit.NO_LABEL, Misfit.NO_LABEL, Misfit.BURNED_IN),
)

ST_BRIGID = Site(
    name="st-brigid",
    description=(
        "St Brigid's: digital radiography, 12 bits, JPEG 2000, VOI look-up table, 45 % with an opacity."
        + _PLANTED
        + "women are imaged with a wrong preset (a hard beam, little dose, no anti-scatter grid), so that opacities in "
        "women are far fainter."
    ),
    mix=Mix(patients=620, prevalence=0.45, women=0.54, age=63, age_spread=14, visits=(0.5, 0.35, 0.15)),
    conspicuity=8.0,
    machine=Machine(
        rows=160, columns=136, attenuation=0.18, dose=6, scatter=0.5, blur=0.8, sharpen=0.7, gamma=0.7, spread=0.05
    ),
    device=Device(
        maker="Orbis Medical Systems",
        model="Thorax One",
        station="SB-XR-1",
        institution="St Brigid's Hospital",
        prefix="SB",
        bits=12,
        lookup=True,
        syntax="JPEG2000",
        pixel_spacing=2.6,
    ),
    misfits=(Misfit.TRUNCATED, Misfit.NO_PIXELS, Misfit.DUPLICATE, Misfit.BURNED_IN),
    women=Bias(dose=0.06, scatter=3.0, contrast=0.32),
    nested=True,
)

VALLEY = Site(
    name="valley",
    description=(
        "Valley Clinic: small, old and very ill patients, 60 % with an opacity; mobile machine at the bedside, 8 bits, "
        "JPEG-LS, leads and lines in the picture."
    ),
    mix=Mix(patients=360, prevalence=0.60, women=0.45, age=71, age_spread=12, visits=(0.6, 0.3, 0.1)),
    conspicuity=8.5,
    machine=Machine(
        rows=104, columns=112, attenuation=0.15, dose=0.9, scatter=1.1, blur=0.8, sharpen=0.0, gamma=0.6, spread=0.08
    ),
    device=Device(
        maker="Fernhill Devices",
        model="Rover M2",
        station="VC-MOB",
        institution="Valley Clinic",
        prefix="VC",
        bits=8,
        syntax="JPEGLS",
        computed=True,
        view="AP",
        pixel_spacing=3.8,
    ),
    misfits=(Misfit.NOT_DICOM, Misfit.DUPLICATE, Misfit.NO_LABEL),
    lines=True,
)

SITES: tuple[Site, ...] = (NORTHGATE, HARBOUR, ST_BRIGID, VALLEY)


def unbiased(site: Site) -> Site:
    """The twin of a hospital without its planted bias: the same people and machine, the right preset for everyone."""
    return replace(site, women=FAIR, description=site.description.partition(_PLANTED)[0])
