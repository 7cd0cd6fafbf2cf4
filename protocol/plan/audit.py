"""The part of the plan about the audit: whom the final test is broken down for, at what thresholds, and what counts as fair."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protocol.plan.part import Part

Attribute = Literal["sex", "age", "manufacturer", "model", "modality"]
Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
_TEXTS = ("manufacturer", "model", "modality")
_MOST_GROUPS = 512
_MOST_PAIRED = 128  # groups for which two models are counted together: about ten times as many counts for each


class Margins(Part):
    """What a difference may be before it is called one; frozen before any score exists."""

    auroc_gap: float = Field(default=0.05, gt=0.0, le=1.0, description="largest AUROC of a group minus the smallest")
    rate_gap: float = Field(
        default=0.10,
        gt=0.0,
        le=1.0,
        description="the same for sensitivity (equal opportunity) and false positive rate; equalised odds is the larger",
    )
    slope_low: float = Field(default=0.8, gt=0.0, le=1.0, description="calibration slope of a group: at least this")
    slope_high: float = Field(default=1.25, ge=1.0, le=10.0, description="calibration slope of a group: at most this")


class Audit(Part):
    """How the final model's test is broken down. Groups are counted at the hospitals; only sums over hospitals leave.

    A group is one value of one attribute, or of each attribute of an intersection; whoever has no value is in `unknown`.
    """

    attributes: tuple[Attribute, ...] = Field(default=("sex", "age"), description="what test patients are told apart by")
    age_edges: tuple[Annotated[int, Field(ge=1, le=120)], ...] = Field(
        default=(40, 60, 80), max_length=16, description="first year of each age band after the first"
    )
    values: dict[Attribute, tuple[str, ...]] = Field(
        default_factory=dict,
        description="manufacturer, model, modality: the values told apart, as cohort stores have them; any other is `other`",
    )
    intersections: tuple[tuple[Attribute, ...], ...] = Field(
        default=(), max_length=16, description="groups of two or more attributes together, for example [[sex, age]]"
    )
    operating_points: tuple[Probability, ...] = Field(
        default=(0.5,), min_length=1, max_length=8, description="probabilities from which the class is called; ascending"
    )
    decision_thresholds: tuple[Probability, ...] = Field(
        default=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        max_length=32,
        description="probabilities at which net benefit is measured; ascending",
    )
    margins: Margins = Field(default_factory=Margins, description="what counts as a difference")
    smallest_cell: int = Field(
        default=11, ge=1, le=1000, description="no number of patients or images from 1 to one less is shown, nor can be derived"
    )
    bins: int = Field(default=128, ge=16, le=512, description="bins of a score histogram; under privacy 16 fixed ones")
    epsilon: float = Field(
        default=3.0,
        gt=0.0,
        le=10.0,
        description="under privacy: what the audit costs a test patient; such patients never train",
    )
    compare_with: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="digest of another model of the same network, which is scored on the same test patients, so that the "
        "report holds paired differences from it; `fedward weights add OUT/model.safetensors` prints that of a finished job. "
        "Not under privacy",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("age_edges", "operating_points", "decision_thresholds"):
            numbers = getattr(self, name)
            if list(numbers) != sorted(set(numbers)):
                raise ValueError(f"{name}: must ascend, each number once")
        if len(set(self.attributes)) != len(self.attributes):
            raise ValueError("attributes: each may stand there once")
        for attribute in self.values:
            if attribute not in _TEXTS:
                raise ValueError(f"values.{attribute}: the values of {attribute} are fixed; leave it out")
            if not self.values[attribute] or len(set(self.values[attribute])) != len(self.values[attribute]):
                raise ValueError(f"values.{attribute}: name at least one value, each once")
            if {"other", "unknown"} & set(self.values[attribute]):
                raise ValueError(f"values.{attribute}: `other` and `unknown` are there by themselves; leave them out")
        for parts in self.intersections:
            if len(parts) < 2 or len(set(parts)) != len(parts):
                raise ValueError("intersections: each names two or more different attributes")
        if len({frozenset(parts) for parts in self.intersections}) != len(self.intersections):
            raise ValueError("intersections: each may stand there once")
        for attribute in (*self.attributes, *(one for parts in self.intersections for one in parts)):
            if attribute in _TEXTS and attribute not in self.values:
                raise ValueError(
                    f"values.{attribute}: name the values that are told apart; hospitals must count the same groups"
                )
        most = _MOST_GROUPS if self.compare_with is None else _MOST_PAIRED
        if len(self.groups) > most:
            with_it = "" if self.compare_with is None else " with compare_with"
            raise ValueError(
                f"attributes and intersections make {len(self.groups)} groups, at most {most} are allowed{with_it}"
            )
        return self

    @property
    def groups(self) -> tuple[tuple[tuple[Attribute, str], ...], ...]:
        """Every group but that of all and the hospitals: its (attribute, value) pairs, in the order of the counts."""
        single = tuple(((attribute, value),) for attribute in self.attributes for value in self.values_of(attribute))
        crossed: list[tuple[tuple[Attribute, str], ...]] = []
        for parts in self.intersections:
            made: list[tuple[tuple[Attribute, str], ...]] = [()]
            for attribute in parts:
                made = [(*before, (attribute, value)) for before in made for value in self.values_of(attribute)]
            crossed += made
        return single + tuple(crossed)

    def values_of(self, attribute: Attribute) -> tuple[str, ...]:
        """The values of an attribute that groups are made of; `unknown` is always the last."""
        if attribute == "sex":
            return ("F", "M", "O", "unknown")
        if attribute == "age":
            starts = (0, *self.age_edges)
            return (*(band(start, end) for start, end in zip(starts, (*self.age_edges, None), strict=True)), "unknown")
        return (*self.values[attribute], "other", "unknown")

    def value_of(self, attribute: Attribute, raw: str | int | None) -> str:
        """The value that a row with `raw` in its cohort store counts for."""
        if raw is None:
            return "unknown"
        if attribute == "age":
            bands = self.values_of("age")[:-1]
            return bands[sum(int(raw) >= edge for edge in self.age_edges)]
        known = self.values_of(attribute)
        return str(raw) if str(raw) in known else ("other" if attribute in _TEXTS else "unknown")


def band(start: int, end: int | None) -> str:
    """How a band of whole years is written: 40-59, or 80+."""
    return f"{start}+" if end is None else f"{start}-{end - 1}"
