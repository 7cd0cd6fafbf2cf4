"""The tables of docs/silo.md, written from the code: `python -m silo_node.service.reference docs/silo.md`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from protocol.errors import InputError
from protocol.plan.reference import table
from silo_node.service.config import Health, SiloConfig
from silo_node.service.metrics import SiloMetrics


def with_tables(page: str) -> str:
    """`page` with what stands between `<!-- table: NAME -->` and `<!-- end -->` written anew.

    Raises InputError for a name that is no table, or a table that is missing.
    """
    tables = {"silo.yaml": table(SiloConfig), "health": table(Health), "metrics": _metrics()}
    named = re.findall(r"<!-- table: (\S+) -->", page)
    if sorted(named) != sorted(tables):
        raise InputError(f"the page must hold each of these tables once: {', '.join(tables)}.")

    def written(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n" + "\n".join(tables[match[1]]) + "\n<!-- end -->"

    return re.sub(r"<!-- table: (\S+) -->\n.*?<!-- end -->", written, page, flags=re.DOTALL)


def _metrics() -> list[str]:
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    watch = SiloMetrics("north", lambda: True, lambda: 0.0)
    watch.begin("Train")
    watch.answered("Train", "answered", 1.0)
    for family in watch.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        shown = ", ".join(f"`{label}`" for label in labels) or "-"
        rows.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return rows


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_tables(target.read_text(encoding="utf-8")), encoding="utf-8")
