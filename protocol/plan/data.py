"""The part of the plan about images and labels: task, split, channels, preprocessing, augmentation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from protocol.plan.allowlist import AUGMENTATION, PREPROCESSING
from protocol.plan.part import Named, Part


def _on(allowed: frozenset[str], what: str) -> AfterValidator:
    def check(named: Named) -> Named:
        if named.name not in allowed:
            raise ValueError(f"{named.name!r} is not an allowed {what}; allowed: {', '.join(sorted(allowed))}")
        chance = named.args.get("prob", 0.0)
        if not isinstance(chance, int | float) or isinstance(chance, bool) or not 0.0 <= chance <= 1.0:
            raise ValueError(f"args.prob: {chance!r} is not a probability; range 0 to 1")
        return named

    return AfterValidator(check)


Preprocessing = Annotated[Named, _on(PREPROCESSING, "preprocessing transform")]
Augmentation = Annotated[Named, _on(AUGMENTATION, "augmentation transform")]


class Task(Part):
    """What is learned: one class per image."""

    kind: Literal["classification"] = Field(description="classification: one of two or more classes per image")
    target: str = Field(min_length=1, description="column of the hospitals' labels.csv that holds the class")
    classes: tuple[str, ...] = Field(
        min_length=2,
        max_length=1000,
        description="the values of that column, as quoted text; with two classes the second is the positive one",
    )
    class_names: tuple[str, ...] = Field(default=(), description="what people read instead of the values, in the same order")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: each value may stand there once")
        if self.class_names and len(self.class_names) != len(self.classes):
            raise ValueError("class_names: give one name per class, in the same order, or leave the key out")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as people read them."""
        return self.class_names or self.classes


class Split(Part):
    """Which patients train, validate and test. Never are images of one patient in two parts."""

    use_fold_column: bool = Field(
        default=True, description="honour the store's fold column (train, validation, test) where it is given"
    )
    test_fraction: float = Field(
        default=0.2,
        ge=0.0,
        le=0.9,
        description="fraction of patients for the test; only where no fold says so, range 0 to 0.9",
    )
    validation_fraction: float = Field(
        default=0.1,
        ge=0.0,
        le=0.9,
        description="fraction of the training patients held out for the curves, range 0 to 0.9",
    )


class Data(Part):
    """How an image becomes the network's input."""

    channels: Literal[1, 3] = Field(description="1: grey (colour is converted by Rec. 601 luma); 3: RGB (grey is repeated)")
    split: Split = Field(default_factory=Split, description="patient-safe split")
    preprocessing: tuple[Preprocessing, ...] = Field(
        description="MONAI transforms applied once to every image; images arrive as fractions 0 to 1 of the display range. "
        "ColourTexture is fedward's own: three channels become 9 * (bins + scales) numbers of colour histograms and wavelet "
        "amplitudes (args: bins 8, scales 4, orientations 4), for a FullyConnectedNet. They are fixed beforehand, so they cost "
        "no privacy"
    )
    augmentation: tuple[Augmentation, ...] = Field(
        default=(), description="random MONAI transforms applied to training images, anew each time"
    )
