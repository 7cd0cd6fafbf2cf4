"""What every part of a plan has in common: frozen, strict about types, and no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Part(BaseModel):
    """A frozen part of the plan; unknown keys and silently converted types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=100.0)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class Named(Part):
    """A MONAI class, by name, with its keyword arguments (JSON values only)."""

    name: str = Field(description="class name as in MONAI; must be on fedward's allow-list (docs/plan.md)")
    args: dict[str, JsonValue] = Field(default_factory=dict, description="keyword arguments of that class")
