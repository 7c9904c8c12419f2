"""The settings of a run, frozen and checked as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from inference.contract.metrics import OF_TASK
from inference.contract.network import Activation
from inference.contract.schema import Frozen, Task
from training.errors import ConfigError
from training.gate import Gate


class Missing(StrEnum):
    """What becomes of training rows with a missing input.

    IMPUTE gives them the training median; DROP keeps them out of the loss (their values still serve as
    history). Held-out rows are never dropped: they are imputed, as at serving.
    """

    IMPUTE = "impute"
    DROP = "drop"


def _texts(value: Any) -> Any:
    """A comma-separated text as a list; an empty text is an empty list."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _choice(value: Any) -> Any:
    """As `_texts`, where "auto" leaves the choice to the run and "none" is an empty list."""
    if value in ("auto", "none"):
        return None if value == "auto" else ()
    return _texts(value)


def _automatic(value: Any) -> Any:
    return None if value == "auto" else value


def _gates(value: Any) -> Any:
    parts = _texts(value)
    if isinstance(parts, Iterable) and not isinstance(parts, str | Mapping):
        try:
            return tuple(Gate.parse(part) if isinstance(part, str) else part for part in parts)
        except ConfigError as error:  # pydantic collects ValueErrors with the problems of the other settings
            raise ValueError(str(error)) from None
    return parts


def _optional(value: Any) -> Any:
    return None if value in ("none", "0", 0) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Choice = Annotated[tuple[str, ...] | None, BeforeValidator(_choice)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.01, le=0.5)]


class TrainConfig(Frozen):
    """One run: which data, which features, which network, which gate.

    Lists may be given as comma-separated texts, numbers as texts: a SageMaker job has nothing else.

    Attributes:
        data: a CSV (also .gz) or Parquet file, or a folder of them; here or, as s3://…, in S3.
        target: the column to predict.
        order: columns (numbers or times) that put the rows in order; without them the split is random.
        group_by: columns whose values name an entity (a shop, a sensor) with an order of its own: lags and windows do
            not leave it, and the split is at the same time for all.
        drop: columns that are no inputs; one that is also in `order` or `group_by` still serves as that.
        categorical: columns whose numbers are names (postal codes).
        allow_leak: columns that may give the target away: a request has them.
        task: "auto" takes text, and integers of at most 10 distinct values, for classes.
        lags, window: earlier rows that become features, and the length of the rolling mean and std (None: none).
        history: columns to take them of; None: the target of a regression whose rows have an order.
        products: continuous columns whose squares and products become features; None: the first three.
        missing: see Missing.
        missing_history: what serving does with a row that comes without its earlier rows.
        dropout: share of hidden values zeroed in training.
        patience: epochs without a better validation loss before training stops.
        precision: of the forward pass: bf16 is for GPUs; weights stay float32.
        checkpoint: folder or s3:// prefix to go on from after an interruption, written after each epoch. Without one, a
            worker that is killed still goes on; the run as a whole begins anew.
        checkpoint_minutes: also within an epoch, so often.
        workers: Ray Train workers, one CPU each; with `use_gpu` one GPU each.
        validation, test: shares of the rows; the rest trains.
        tune: trials of a search for better settings (network, learning rate, …) on validation rows; 0 for none.
        champion: model.tar.gz that is deployed, here or s3://…: the model must not be worse on rows new to both.
        champion_tolerance: the share by which its loss may be higher, at the bad end of the interval.
        output: the folder in which `<name>/model.tar.gz` is written.
        chunk_rows: rows in memory at once; changes no result.
        processes: that compute features; None: several from a number of rows at which that was measured to be faster.

    Raises:
        ConfigError: lists every problem with its value.
    """

    data: Path
    target: str
    order: Names = ()
    group_by: Names = ()
    drop: Names = ()
    categorical: Names = ()
    allow_leak: Names = ()
    task: Task | Literal["auto"] = "auto"
    lags: Annotated[tuple[Positive, ...], BeforeValidator(_texts)] = (1, 7, 30)
    window: Annotated[Annotated[int, Field(ge=2)] | None, BeforeValidator(_optional)] = 7
    history: Choice = None
    products: Choice = None
    missing: Missing = Missing.IMPUTE
    missing_history: Literal["impute", "reject"] = "impute"
    hidden: Annotated[tuple[Positive, ...], BeforeValidator(_texts)] = (64, 32)
    activation: Activation = Activation.RELU
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    epochs: Positive = 60
    batch_size: Positive = 256
    patience: Positive = 10
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["float32", "bf16"] = "float32"
    checkpoint: Annotated[str | None, BeforeValidator(_optional)] = None
    checkpoint_minutes: Annotated[float, Field(gt=0.0)] | None = None
    workers: Positive = 1
    use_gpu: bool = False
    validation: Fraction = 0.15
    test: Fraction = 0.15
    gates: Annotated[tuple[Gate, ...], BeforeValidator(_gates)] = ()
    tune: Annotated[int, Field(ge=0, le=1_000)] = 0
    champion: Annotated[str | None, BeforeValidator(_optional)] = None
    champion_tolerance: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9](-?[a-zA-Z0-9]){0,62}$")] = "model"
    output: Path = Path(".sagestage/runs")
    chunk_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 65_536
    processes: Annotated[Annotated[int, Field(ge=1, le=1_024)] | None, BeforeValidator(_automatic)] = None

    @model_validator(mode="wrap")
    @classmethod
    def _every_problem_at_once(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            config = handler(values)
        except ValidationError as error:
            raise ConfigError([_problem(detail, cls) for detail in error.errors()]) from None
        if problems := config.problems():
            raise ConfigError(problems)
        return config

    def problems(self) -> list[str]:
        """What is wrong with the settings taken together."""
        problems = list(self._of_the_order())
        if self.target in self.drop:
            problems.append(f"target {self.target!r} is also to be dropped")
        for name, columns in (
            ("history", self.history),
            ("products", self.products),
            ("categorical", self.categorical),
        ):
            if dropped := sorted(set(columns or ()) & set(self.drop)):
                problems.append(f"{name} names columns that are dropped: {', '.join(dropped)}")
        if self.products and self.target in self.products:
            problems.append(f"products: the target {self.target!r} is no input")
        if self.validation + self.test > 0.8:  # stated in the message
            problems.append(f"validation {self.validation:g} and test {self.test:g} leave less than 0.2 for training")
        if self.task != "auto":
            known = OF_TASK[self.task]
            problems += [
                f"gate {gate}: a {self.task} has no {gate.metric}; it has {', '.join(known)}"
                for gate in self.gates
                if gate.metric not in known
            ]
        return problems

    def _of_the_order(self) -> Iterator[str]:
        if self.target in self.order:
            yield f"target {self.target!r} cannot order the rows: it is what is to be found out"
        if self.target in self.group_by:
            yield f"target {self.target!r} cannot name the entity (group-by): it is what is to be found out"
        if self.group_by and not self.order:
            yield f"group-by {', '.join(self.group_by)} needs rows in an order: name its columns (order)"
        if both := sorted(set(self.group_by) & set(self.order)):
            yield f"group-by and order both name {', '.join(both)}: an entity has rows of many times"
        if self.history and not self.order:
            yield f"history of {', '.join(self.history)} needs rows in an order: name its columns (order)"

    def preparation(self) -> dict[str, Any]:
        """The settings that decide how the data are prepared: runs that agree in them can share it."""
        return self.model_dump(include=set(_PREPARATION) - ({"seed"} if self.order else set()))


_PREPARATION = (
    "data", "target", "order", "group_by", "drop", "categorical", "allow_leak", "task", "lags", "window", "history",
    "products", "missing", "missing_history", "seed", "validation", "test",
)  # fmt: skip


def _problem(detail: Any, model: type[TrainConfig]) -> str:
    """One pydantic error as a sentence with the value."""
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    if detail["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; there are {', '.join(model.model_fields)}"
    if detail["type"] == "missing":
        return f"{name} is missing: say --{name.replace('_', '-')}"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    return f"{name}: {detail['msg'].removeprefix('Input ')}, got {detail['input']!r}"
