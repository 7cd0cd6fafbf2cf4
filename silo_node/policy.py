"""The hospital's own policy: what may be done with its cohort, in a file that only the hospital writes.

No policy file means the defaults below, which allow no plan without differential privacy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.guarantee import Guarantee
from protocol.errors import PlanError, PolicyError
from protocol.plan import Plan
from protocol.plan.load import parse_part
from protocol.plan.part import Part

_MAX_BYTES = 100_000
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Policy(Part):
    """What this hospital allows."""

    schema_: Literal["fedward.policy/1"] = Field(
        default="fedward.policy/1", alias="schema", description="version of this format"
    )
    allow_without_privacy: bool = Field(
        default=False, description="true: plans without differential privacy may run, and what leaves is exact"
    )
    mechanisms: tuple[Literal["local", "distributed"], ...] = Field(
        default=("local", "distributed"), description="mechanisms of differential privacy that are allowed"
    )
    max_epsilon_per_study: float = Field(default=8.0, gt=0.0, description="most epsilon that one plan may cost a patient")
    max_epsilon_total: float = Field(
        default=20.0, gt=0.0, description="most epsilon that all studies on this cohort together may cost a patient"
    )
    max_delta: float = Field(
        default=1e-5, gt=0.0, lt=1.0, description="largest delta of a plan; max_epsilon_total is held at this delta too"
    )
    min_patients: int = Field(default=10, ge=1, description="fewest patients in the cohort store with which any plan may run")
    max_image_gb: float = Field(
        default=0.0,
        ge=0.0,
        description="most memory, in GB (10^9 bytes), that a plan's preprocessed images may take; 0: half of what is available "
        "when a job begins",
    )
    custom_code: Literal["refused", "approved"] = Field(
        default="refused",
        description="what becomes of plans that bring a Python module of their own for the network or the loss, with or "
        "without differential privacy. refused: no such plan runs; approved: it runs, kept apart (docs/custom-code.md), once "
        "it is approved as `approval` says",
    )
    scores: Literal["none", "noised", "summed", "exact"] = Field(
        default="exact",
        description="most that may leave of how a model scores. none; noised: histograms with noise, of plans with "
        "differential privacy; summed: without noise too, but only in a masked sum over several hospitals "
        "(evaluation.scores: summed); exact: this hospital's exact figures too",
    )

    approval: Literal["officers", "local"] | None = Field(
        default=None,
        description="who approves a plan before it may touch the cohort. officers: the data officers below; local: whoever "
        "runs this node answers for every plan it is given. Left out: `fedward run` counts as local and says so, "
        "`fedward silo serve` refuses to start",
    )
    officers: dict[str, Key] = Field(
        default_factory=dict, description="data officers: name and public key, as `fedward silo officer` prints it"
    )
    officers_needed: int = Field(default=1, ge=1, le=32, description="how many of them must approve a plan")
    approval_days: int = Field(default=90, ge=1, le=3660, description="days after which an approval ends by itself")
    researchers: dict[str, Key] = Field(
        default_factory=dict, description="who may hand plans over: name and public key, compared by telephone"
    )

    @model_validator(mode="after")
    def _enough_officers(self) -> Self:
        if self.approval == "officers" and self.officers_needed > len(self.officers):
            raise ValueError(f"officers_needed is {self.officers_needed}, but officers names {len(self.officers)}; name more")
        if len(set(self.officers.values())) < len(self.officers):
            raise ValueError("officers: two names have one key; each officer has a key of their own")
        return self

    def admit_cohort(self, n_patients: int) -> None:
        """Raises PolicyError if this hospital does not allow any study on a cohort of so few patients."""
        if n_patients < self.min_patients:
            raise PolicyError(f"fewer patients than this hospital's policy asks for (min_patients {self.min_patients}).")

    def admit(self, plan: Plan, guarantee: Guarantee | None) -> None:
        """Raises PolicyError, naming every objection in a line of its own, if this hospital does not allow `plan`."""
        objections = [*self._code_objections(plan), *self._privacy_objections(plan, guarantee)]
        if objections:
            raise PolicyError("\n".join(objections))

    def admit_code(self, plan: Plan) -> None:
        """Raises PolicyError if the plan brings a program and this hospital runs none."""
        if objections := self._code_objections(plan):
            raise PolicyError(objections[0])

    def _code_objections(self, plan: Plan) -> list[str]:
        if plan.code is None or self.custom_code == "approved":
            return []
        return [
            "the plan brings a program of its own (code) and this hospital's policy runs none. Write the plan without it, or "
            "set custom_code: approved in the hospital's policy file (docs/custom-code.md says what that allows); on one "
            "machine, for code that you have read: fedward run --accept-code."
        ]

    def _privacy_objections(self, plan: Plan, guarantee: Guarantee | None) -> list[str]:
        if guarantee is None:
            if self.allow_without_privacy:
                return []
            return [
                "the plan has no differential privacy and this hospital's policy does not allow that. Give the plan a "
                "privacy part (`fedward plan new` shows one), or set allow_without_privacy in the hospital's policy file; "
                "on one machine, for data that need no protection: fedward run --accept-no-dp."
            ]
        return [
            text
            for objects, text in (
                (
                    plan.privacy.mechanism not in self.mechanisms,
                    f"this hospital's policy does not allow privacy.mechanism {plan.privacy.mechanism}.",
                ),
                (
                    guarantee.delta > self.max_delta,
                    f"privacy.delta {guarantee.delta:g} is above this hospital's max_delta {self.max_delta:g}.",
                ),
                (
                    guarantee.epsilon > self.max_epsilon_per_study,
                    f"the plan costs a patient epsilon {guarantee.epsilon:.3g}, this hospital's max_epsilon_per_study is "
                    f"{self.max_epsilon_per_study:g}; lower privacy.epsilon or raise it in the policy file.",
                ),
            )
            if objects
        ]


def load_policy(path: Path | None) -> Policy:
    """The policy in `path`; the defaults if there is no such file. Raises PolicyError naming every wrong key with its line."""
    if path is None:
        return Policy()
    for ending in (".yml", ".YAML", ".json"):
        if (other := path.with_suffix(ending)).exists():
            raise PolicyError(f"{other.name} is not read: a policy is named {path.name}. Rename it.")
    if not os.path.lexists(path):  # a link to nowhere is a policy that cannot be read, not the absence of one
        return Policy()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise PolicyError(f"{path.name}: larger than {_MAX_BYTES} bytes; this is not a policy.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyError(f"{path.name}: cannot be read ({error.strerror}); check the path and its permissions.") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path.name}: is not UTF-8 text; `fedward silo policy` writes one.") from error
    try:
        return parse_part(text, Policy, name=path.name, advice="`fedward silo policy` writes one.")
    except PlanError as error:
        raise PolicyError(str(error)) from error
