"""The key that somebody may have meant who wrote one that a plan does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from protocol.plan.part import Part


def nearest_key(kind: type[Part], location: Sequence[str | int]) -> str | None:
    """The most similar key of the part of `kind` in which the unknown key at `location` stands; None if none is similar.

    `location` is pydantic's: keys, indices, and the tags of discriminated unions.
    """
    *parents, wrong = location
    parts = [kind]
    for step in parents:
        if isinstance(step, int):
            continue
        inside = [one for part in parts for key, annotation in _fields(part) if key == step for one in _parts_in(annotation)]
        # What is no key is a tag: of the parts that may stand here it says which one does.
        parts = inside or [part for part in parts if any(step in get_args(annotation) for _, annotation in _fields(part))]
    known = sorted({key for part in parts for key, _ in _fields(part)})
    return next(iter(get_close_matches(str(wrong), known, n=1, cutoff=0.75)), None)


def _fields(part: type[Part]) -> Iterator[tuple[str, Any]]:
    """Keys as they are written in a plan, with their types."""
    for name, field in part.model_fields.items():
        yield field.alias or name, field.annotation


def _parts_in(annotation: Any) -> list[type[Part]]:
    """The parts that a type names, through unions, lists and annotations."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts_in(argument)]
