"""What may be deleted: never what an endpoint runs, nor what another stack made."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.names import tags
from infra.prune import Orphans, RunningEndpoint, StoredConfig, orphans, prune

NAMES = st.sampled_from([f"n{i}" for i in range(6)])
CONFIGS = st.dictionaries(NAMES, st.tuples(st.frozensets(NAMES), st.booleans())).map(
    lambda found: [StoredConfig(name, models, own) for name, (models, own) in found.items()]
)
ENDPOINTS = st.lists(st.frozensets(NAMES).map(lambda configs: RunningEndpoint("e", configs)), max_size=3)


@given(ENDPOINTS, CONFIGS, st.lists(NAMES, unique=True), st.frozensets(NAMES))
def test_nothing_that_runs_is_ever_deleted(
    endpoints: list[RunningEndpoint], configs: list[StoredConfig], models: list[str], keep: frozenset[str]
) -> None:
    gone = orphans(endpoints, configs, models, keep)
    running = {name for endpoint in endpoints for name in endpoint.configs}
    stays = [config for config in configs if config.name not in gone.configs]
    assert not running & set(gone.configs)
    assert not {model for config in stays for model in config.models} & set(gone.models)
    assert not keep & {*gone.configs, *gone.models}
    assert all(config.own for config in configs if config.name in gone.configs)


def test_after_a_rollback_the_previous_configuration_and_its_model_stay() -> None:
    configs = [StoredConfig("old", frozenset({"m1"})), StoredConfig("new", frozenset({"m2"}))]
    gone = orphans([RunningEndpoint("e", frozenset({"old"}))], configs, ["m1", "m2"])
    assert gone == Orphans(("new",), ("m2",))


def test_what_the_state_declares_stays_even_when_nothing_runs_it() -> None:
    configs = [StoredConfig("old", frozenset({"m1"})), StoredConfig("new", frozenset({"m2"}))]
    gone = orphans([RunningEndpoint("e", frozenset({"old"}))], configs, ["m1", "m2"], keep={"new"})
    assert gone == Orphans((), ())


class Client:
    """A SageMaker client over plain dictionaries, a page for every item."""

    def __init__(self) -> None:
        self.endpoints = {"e": {"EndpointConfigName": "c1", "PendingDeploymentSummary": {"EndpointConfigName": "c2"}}}
        self.configs = {f"c{i}": {"ProductionVariants": [{"ModelName": f"m{i}"}]} for i in range(1, 5)}
        self.models = {f"m{i}": {} for i in range(1, 6)}
        own = tags("p", "s", "e")
        self.tags = dict.fromkeys([*self.configs, *self.models], own) | {"c4": tags("p", "other", "e"), "m5": {}}

    def get_paginator(self, operation: str) -> "Pages":
        return Pages(self, operation)

    def describe_endpoint(self, *, EndpointName: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        return self.endpoints[EndpointName]

    def describe_endpoint_config(self, *, EndpointConfigName: str) -> dict[str, Any]:  # noqa: N803
        return self.configs[EndpointConfigName]

    def delete_endpoint_config(self, *, EndpointConfigName: str) -> None:  # noqa: N803
        del self.configs[EndpointConfigName]

    def delete_model(self, *, ModelName: str) -> None:  # noqa: N803
        del self.models[ModelName]


class Pages:
    def __init__(self, client: Client, operation: str) -> None:
        self.client, self.operation = client, operation

    def paginate(self, *, ResourceArn: str = "") -> Any:  # noqa: N803
        match self.operation:
            case "list_tags":
                return [
                    {"Tags": [{"Key": key, "Value": value}]} for key, value in self.client.tags[ResourceArn].items()
                ]
            case "list_endpoints":
                return [{"Endpoints": [{"EndpointName": name}]} for name in self.client.endpoints]
            case "list_endpoint_configs":
                one = "EndpointConfig"
            case _:
                one = "Model"
        found = self.client.configs if one == "EndpointConfig" else self.client.models
        return [{f"{one}s": [{f"{one}Name": name, f"{one}Arn": name}]} for name in found]


def test_pruning_deletes_what_this_stack_made_and_no_endpoint_runs() -> None:
    client = Client()
    assert prune(client, "p", "s") == Orphans(("c3",), ("m3",))
    assert sorted(client.configs) == ["c1", "c2", "c4"]
    assert sorted(client.models) == ["m1", "m2", "m4", "m5"]


def test_pruning_twice_deletes_nothing_more() -> None:
    client = Client()
    prune(client, "p", "s")
    assert prune(client, "p", "s") == Orphans((), ())


def test_pruning_when_the_endpoint_is_gone_leaves_nothing_of_the_stack() -> None:
    client = Client()
    client.endpoints.clear()
    assert prune(client, "p", "s") == Orphans(("c1", "c2", "c3"), ("m1", "m2", "m3"))
