"""From a folder of images to a cohort store: every file ends as a sample or as a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from silo_node.intake.importer import ImportSummary, Settings, import_folder
    from silo_node.intake.reasons import Reason

__all__ = ["ImportSummary", "Reason", "Settings", "import_folder"]


def __getattr__(name: str) -> object:
    # Decoder processes import this package too and start faster without the importer.
    if name == "Reason":
        from silo_node.intake.reasons import Reason

        return Reason
    if name in __all__:
        from silo_node.intake import importer

        return getattr(importer, name)
    raise AttributeError(name)
