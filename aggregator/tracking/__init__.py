"""What researchers see in MLflow: a parent run per job, a child run per silo. The journal is the truth, MLflow its picture."""

from aggregator.tracking.mlflow_tracker import MlflowTracker

__all__ = ["MlflowTracker"]
