from infra.cloud.metrics import NAMESPACE, UNITS, Metrics, Series
from infra.cloud.series import Key, Store

SERIES = Series("us-east-1", "demand", "champion")
BY_VARIANT = (("EndpointName", "demand"), ("VariantName", "champion"))
MINUTE = 60.0 * 29_000_000


def counted(*statuses: int, series: Series = SERIES) -> Store:
    store = Store()
    metrics = Metrics(store, clock=lambda: MINUTE + 1)
    for number, status in enumerate(statuses, start=1):
        metrics.count(series, status, model_us=1000.0 * number, overhead_us=100, instances=2, outstanding=number)
    metrics.flush()
    metrics.flush()  # what was taken is not taken again
    return store


def statistic(
    store: Store, name: str, statistic: str, dimensions: tuple[tuple[str, str], ...] = BY_VARIANT
) -> float | None:
    key = Key("us-east-1", NAMESPACE, name, dimensions)
    return store.periods(key, MINUTE, MINUTE + 60, 60)[MINUTE].statistic(statistic)


def test_errors_are_zero_or_one_per_request() -> None:
    store = counted(200, 400, 500, 0)
    assert {key.name for key in store.keys()} == set(UNITS)  # noqa: SIM118 - a method, no mapping
    assert statistic(store, "Invocations", "Sum") == 4
    assert statistic(store, "Invocation4XXErrors", "Sum") == 1
    assert statistic(store, "Invocation4XXErrors", "Average") == 0.25
    assert statistic(store, "Invocation5XXErrors", "Sum") == 2
    assert statistic(store, "InvocationModelErrors", "Sum") == 3
    assert statistic(store, "InvocationsPerInstance", "Sum") == 2
    assert statistic(store, "ModelLatency", "Maximum") == 4000
    assert statistic(store, "ModelLatency", "p50") == 2500
    assert statistic(store, "OverheadLatency", "Average") == 100
    assert statistic(store, "ConcurrentRequestsPerModel", "Maximum") == 4
    assert store.unit(Key("us-east-1", NAMESPACE, "ModelLatency", BY_VARIANT)) == "Microseconds"


def test_fleets_are_told_apart_while_there_are_two() -> None:
    store = counted(200, 500, series=SERIES._replace(config="demand-2"))
    by_fleet = (("EndpointConfigName", "demand-2"), *BY_VARIANT)
    assert statistic(store, "Invocation5XXErrors", "Average", by_fleet) == 0.5
    assert statistic(store, "Invocation5XXErrors", "Average") == 0.5
    assert {key.dimensions for key in counted(200).keys()} == {BY_VARIANT}  # noqa: SIM118 - a method, no mapping
