"""What a process says of the network it built, read as anything a stranger says: bounded, typed, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import msgspec

from privacy.coded.packing import TYPES, Array, Spec, unpack
from protocol.errors import CodeError, NetworkError

Kind = Literal["learned", "still", "buffer"]
MAX_TENSORS = 5000
MAX_VALUES = 1 << 28
"""One GiB of float32, a hundred times a usual network for images."""
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}(\.[A-Za-z0-9_]{1,64}){0,15}")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the network. `same_as`: the first name under which it has it; its own, unless it is shared."""

    spec: Spec
    kind: Kind
    same_as: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The network's tensors in its own order, those that stay at a hospital, and the values it begins with."""

    tensors: tuple[Tensor, ...]
    personal: frozenset[str]
    initial: Mapping[str, Array]


def read_facts(values: Mapping[str, Any], arrays: Mapping[str, Array]) -> Facts:
    """Raises NetworkError with what the process found wrong with the network, CodeError for an answer that is none."""
    if isinstance(wrong := values.get("wrong"), str):
        raise NetworkError("".join(letter if letter.isprintable() else " " for letter in wrong[:2000]))
    try:
        rows = msgspec.convert(values.get("tensors"), list[tuple[str, tuple[int, ...], str, str, str]])
        personal = frozenset(msgspec.convert(values.get("personal"), list[str]))
    except msgspec.ValidationError as error:
        raise CodeError("the plan's own module answered something else than was asked.") from error
    tensors = tuple(_tensor(row) for row in rows)
    names = {one.spec.name: one for one in tensors}
    usable = (
        0 < len(tensors) <= MAX_TENSORS
        and len(names) == len(tensors)
        and personal <= names.keys()
        and sum(one.spec.size for one in tensors) <= MAX_VALUES
        and all(one.same_as in names and names[one.same_as].spec.shape == one.spec.shape for one in tensors)
    )
    if not usable:
        raise CodeError(f"the plan's network must have 1 to {MAX_TENSORS} tensors, of at most {MAX_VALUES} values in all.")
    return Facts(tensors, personal, unpack([one.spec for one in tensors], arrays, ""))


def _tensor(row: tuple[str, tuple[int, ...], str, str, str]) -> Tensor:
    name, shape, dtype, kind, same_as = row
    sane = len(shape) <= 8 and all(0 <= n <= MAX_VALUES for n in shape)
    if not (_NAME.fullmatch(name) and sane and dtype in TYPES and kind in get_args(Kind)):
        raise CodeError(f"the plan's network has a tensor that is not allowed; each is one of {', '.join(TYPES)}.")
    if kind != "buffer" and dtype != "float32":
        raise CodeError("a parameter of the plan's network is not float32; mixed_precision is set in the plan.")
    return Tensor(Spec(name, shape, dtype), cast("Kind", kind), same_as)
