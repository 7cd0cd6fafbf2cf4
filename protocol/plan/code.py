"""The part of the plan that is a program: one Python module beside plan.yaml that defines the network, the loss, or both."""

from __future__ import annotations

import ast
import re
from typing import Self

from pydantic import Field, model_validator

from protocol.canonical import digest_bytes
from protocol.plan.part import Part

PREFIX = "code."  # network.name and training.loss.name: code.NAME is NAME in the module
MAX_CHARACTERS = 100_000
_NAMED = re.compile(r"^code\.[A-Za-z_][A-Za-z0-9_]{0,63}$")


def named_in_code(name: str) -> bool:
    """Whether `name` (of a network or a loss) is one of the plan's own module."""
    return _NAMED.match(name) is not None


class Code(Part):
    """One Python module, with its whole text: the plan's digest binds every letter of it, and an officer reads it there.

    In plan.yaml `file` is enough; `fedward` reads the module beside the plan and fills in the rest. It may import Python's
    standard library, torch, monai and numpy, and nothing else of this project or beside it. It runs in processes of its own
    without network, files, keys and ledger (docs/custom-code.md), at a hospital only where its policy allows code and its
    officers approved this plan.
    """

    file: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\.py$", description="name of the module beside plan.yaml")
    sha256: str = Field(
        default="", pattern=r"^(sha256:[0-9a-f]{64})?$", description="its digest; filled in when the plan is read"
    )
    source: str = Field(default="", max_length=MAX_CHARACTERS, description="its text (UTF-8); filled in when the plan is read")

    turns_per_step: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="under differential privacy: turns that a step has at each hospital, one patient each or nobody's, so that "
        "when a patient is calculated on depends on no other. Left out: room for privacy.batch_patients drawn on average",
    )
    turns_per_score: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="under differential privacy: the same for scoring validation or test patients, all of them",
    )

    @model_validator(mode="after")
    def _bound(self) -> Self:
        if not self.source:
            raise ValueError("source: empty; keep the module beside plan.yaml, or give its whole text")
        if self.sha256 != digest_bytes(self.source.encode("utf-8")):
            raise ValueError("sha256: is not the digest of the module's text; leave it out, and it is filled in")
        return self


def defined(code: Code) -> frozenset[str]:
    """Names of the classes and functions at the top of the module. Raises ValueError if it is not Python; runs nothing."""
    try:
        tree = ast.parse(code.source, filename=code.file)
    except SyntaxError as error:
        raise ValueError(f"{code.file}, line {error.lineno}: not Python: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{code.file}: nested too deeply") from error
    kinds = (ast.ClassDef, ast.FunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))
