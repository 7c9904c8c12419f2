"""Every metric of a model by its one name: what training reports, the gate compares and the manifest records."""

from __future__ import annotations

from enum import StrEnum

from inference.contract.schema import Task


class Metric(StrEnum):
    """A metric on held-out rows."""

    R2 = "r2"
    MAE = "mae"
    RMSE = "rmse"
    ACCURACY = "accuracy"
    LOG_LOSS = "log_loss"
    AUC = "auc"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is a better model."""
        return self in (Metric.R2, Metric.ACCURACY, Metric.AUC)


OF_TASK = {
    Task.REGRESSION: (Metric.R2, Metric.MAE, Metric.RMSE),
    Task.CLASSIFICATION: (Metric.ACCURACY, Metric.LOG_LOSS, Metric.AUC),
}
"""Which metrics a task has, in the order that reports show."""


NAMESPACE = "Sagestage/Model"
"""CloudWatch's namespace of what is measured of a model behind an endpoint."""
ENDPOINT, VARIANT = "EndpointName", "VariantName"
"""The dimensions of each of them."""


class Monitored(StrEnum):
    """A metric of a model in production, a value a window."""

    FEATURE_DRIFT = "FeatureDrift"
    DRIFTED_COLUMNS = "DriftedColumns"
    PREDICTION_DRIFT = "PredictionDrift"
    MISSING_SHARE = "MissingShare"
    ACCURACY = "Accuracy"
    LOG_LOSS = "LogLoss"
    R2 = "R2"
    MAE = "MAE"
    RECORDS_READ = "RecordsRead"
