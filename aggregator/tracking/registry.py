"""The final model in MLflow's registry: one version a job, with its card."""

from __future__ import annotations

from typing import Any

from aggregator.tracking.card import card_tags, description

CARD = "model-card.md"  # artifact of the parent run
WORST = "test/worst_site_auroc"  # metric of the parent run


def register(client: Any, name: str, run: str, logged: Any, report: dict[str, Any]) -> None:
    """The model that was `logged` (MLflow's ModelInfo) as a version of `name`; a job that is drawn again keeps its version."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name, description="Models that hospitals trained together with fedward; a version a job."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.run_id == run:
            client.update_model_version(name, version.version, description(report))
            for key, value in card_tags(report).items():
                client.set_model_version_tag(name, version.version, key, value)
            return
    client.create_model_version(
        name,
        source=logged.model_uri,
        run_id=run,
        tags=card_tags(report),
        description=description(report),
        model_id=logged.model_id,
    )
