"""The control plane's calls: validated parameters in, response members out."""

from collections.abc import Callable, Mapping
from typing import Any

from infra.cloud.errors import invalid
from infra.cloud.hosting import Hosting
from infra.cloud.moto_app import Moto, seconds
from infra.cloud.pages import page
from infra.cloud.records import Config, Endpoint, Pending, Variant, arn, float32
from infra.cloud.training import Training
from infra.cloud.transforms import Transforms
from infra.cloud.validation import validate

Params = dict[str, Any]
Answer = dict[str, Any]


class Api:
    """SageMaker's hosting operations. `calls` maps an operation's name to (region, parameters) -> response."""

    def __init__(self, hosting: Hosting, moto: Moto, transforms: Transforms, training: Training) -> None:
        self._hosting = hosting
        self._transforms = transforms
        self._store = hosting.store
        self._moto = moto
        self._training = training
        self.calls: dict[str, Callable[[str, Params], Answer]] = {
            "CreateEndpointConfig": self._create_config,
            "DescribeEndpointConfig": self._describe_config,
            "ListEndpointConfigs": self._list_configs,
            "DeleteEndpointConfig": self._delete_config,
            "CreateEndpoint": self._create,
            "UpdateEndpoint": self._update,
            "UpdateEndpointWeightsAndCapacities": self._resize,
            "DescribeEndpoint": self._describe,
            "ListEndpoints": self._list,
            "DeleteEndpoint": self._delete,
            "DeleteModelPackageGroup": self._delete_package_group,
            **transforms.calls,
            **training.calls,
        }
        self.tag_calls: dict[str, Callable[[dict[str, str], Params], Answer]] = {
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }
        self.tagged: list[Callable[[str, str], dict[str, str] | None]] = [
            self._store.tagged,
            self._transforms.tagged,
            self._training.tagged,
        ]

    def call(self, name: str, region: str, params: Params) -> Answer | None:
        """Answer an operation; None when it is not hosting's, or tags what moto keeps.

        Raises:
            AwsError: as the service would.
            JournalError: the call was carried out, but could not be kept in the journal.
        """
        answer = None
        if name in self.calls:
            validate(name, params)
            answer = self.calls[name](region, params)
        elif name in self.tag_calls:
            resource = str(params.get("ResourceArn", ""))
            tags = next((found for look in self.tagged if (found := look(region, resource)) is not None), None)
            if tags is not None:
                validate(name, params)
                answer = self.tag_calls[name](tags, params)
        if answer is not None and not name.startswith(("Describe", "List")):
            self._store.keep()
            self._transforms.keep()
        return answer

    def _delete_package_group(self, region: str, params: Params) -> Answer:
        """An operation that moto lacks."""
        name = params["ModelPackageGroupName"]
        if not self._moto.forget_package_group(region, name):
            raise invalid(f"ModelPackageGroup {arn(region, 'model-package-group', name)} does not exist.")
        return {}

    def _create_config(self, region: str, params: Params) -> Answer:
        name = params["EndpointConfigName"]
        if (region, name) in self._store.configs:
            raise invalid(
                f'Cannot create already existing endpoint configuration "{arn(region, "endpoint-config", name)}".'
            )
        variants = [_declared(variant) for variant in params["ProductionVariants"]]
        shadows = [_declared(variant) for variant in params.get("ShadowProductionVariants", ())]
        if shadows and (len(variants), len(shadows)) != (1, 1):
            raise invalid("A shadow test has exactly one production variant and one shadow variant.")
        names = [variant["VariantName"] for variant in (*variants, *shadows)]
        for duplicate in sorted({name for name in names if names.count(name) > 1}):
            raise invalid(f"Duplicate variant name {duplicate} in ProductionVariants: each needs a name of its own.")
        for variant in (*variants, *shadows):
            model = variant.get("ModelName")
            if model is not None and not self._moto.has_model(region, model):
                raise invalid(f'Could not find model "{arn(region, "model", model)}".')
        request = {k: v for k, v in params.items() if k != "Tags"} | {"ProductionVariants": variants}
        if shadows:
            request["ShadowProductionVariants"] = shadows
        config = Config(name, region, request, _tags(params))
        self._store.configs[region, name] = config
        return {"EndpointConfigArn": config.arn}

    def _describe_config(self, region: str, params: Params) -> Answer:
        config = self._store.config(region, params["EndpointConfigName"])
        return {**config.request, "EndpointConfigArn": config.arn, "CreationTime": seconds(config.created)}

    def _list_configs(self, region: str, params: Params) -> Answer:
        configs = [config for config in self._store.configs.values() if config.region == region]
        found, token = page(configs, params, {"Name": lambda c: c.name, "CreationTime": lambda c: c.created})
        summaries = [
            {
                "EndpointConfigName": config.name,
                "EndpointConfigArn": config.arn,
                "CreationTime": seconds(config.created),
            }
            for config in found
        ]
        return {"EndpointConfigs": summaries, **token}

    def _delete_config(self, region: str, params: Params) -> Answer:
        config = self._store.config(region, params["EndpointConfigName"])
        del self._store.configs[region, config.name]  # also when an endpoint runs it: SageMaker does not refuse
        return {}

    def _create(self, region: str, params: Params) -> Answer:
        name = params["EndpointName"]
        if (region, name) in self._store.endpoints:
            raise invalid(f'Cannot create already existing endpoint "{arn(region, "endpoint", name)}".')
        config = self._store.config(region, params["EndpointConfigName"])
        endpoint = Endpoint(name, region, config.name, _tags(params), deployment=params.get("DeploymentConfig"))
        self._hosting.create(endpoint, config)
        return {"EndpointArn": endpoint.arn}

    def _update(self, region: str, params: Params) -> Answer:
        endpoint = self._serving(region, params["EndpointName"])
        config = self._store.config(region, params["EndpointConfigName"])
        deployment = endpoint.deployment if params.get("RetainDeploymentConfig") else params.get("DeploymentConfig")
        _check_deployment(endpoint, config, deployment)
        self._check_scaled(endpoint, config)
        endpoint.deployment = deployment
        self._hosting.update(endpoint, config, _retained(endpoint, params))
        return {"EndpointArn": endpoint.arn}

    def _resize(self, region: str, params: Params) -> Answer:
        endpoint = self._serving(region, params["EndpointName"])
        wanted = params["DesiredWeightsAndCapacities"]
        known = endpoint.fleet.variants if endpoint.fleet else {}
        for change in wanted:
            if change["VariantName"] not in known:
                raise invalid(f'Could not find variant "{change["VariantName"]}" of endpoint "{endpoint.arn}".')
        weights = {c["VariantName"]: float32(c["DesiredWeight"]) for c in wanted if "DesiredWeight" in c}
        counts = {c["VariantName"]: c["DesiredInstanceCount"] for c in wanted if "DesiredInstanceCount" in c}
        self._hosting.resize(endpoint, weights, counts)
        return {"EndpointArn": endpoint.arn}

    def _check_scaled(self, endpoint: Endpoint, config: Config) -> None:
        """A variant that Application Auto Scaling has hold of keeps its instance type, and stays."""
        if endpoint.fleet is None:
            return
        held = {each.resource for each in self._moto.scalables() if each.region == endpoint.region}
        now = {each["VariantName"]: each for each in endpoint.fleet.config.request["ProductionVariants"]}
        new = {each["VariantName"]: each for each in config.request["ProductionVariants"]}
        changed = [
            name
            for name, variant in now.items()
            if f"endpoint/{endpoint.name}/variant/{name}" in held
            and new.get(name, {}).get("InstanceType") != variant.get("InstanceType")
        ]
        if changed:
            raise invalid(
                f'The variant(s) "[{", ".join(changed)}]" must be deregistered from AWS Autoscaling before they can be '
                "removed or have their instance type updated."
            )

    def _serving(self, region: str, name: str) -> Endpoint:
        """An endpoint that can be updated: DeleteEndpoint is the only call that a failed one takes."""
        endpoint = self._store.settled(region, name)
        if endpoint.status == "Failed":
            raise invalid(f'Cannot update endpoint "{endpoint.arn}" with status Failed: delete it first.')
        return endpoint

    def _describe(self, region: str, params: Params) -> Answer:
        endpoint = self._store.endpoint(region, params["EndpointName"])
        answer: Answer = {
            "EndpointName": endpoint.name,
            "EndpointArn": endpoint.arn,
            "EndpointConfigName": endpoint.config_name,
            "EndpointStatus": endpoint.status,
            "CreationTime": seconds(endpoint.created),
            "LastModifiedTime": seconds(endpoint.modified),
        }
        if endpoint.reason is not None:
            answer["FailureReason"] = endpoint.reason
        if endpoint.deployment is not None:
            answer["LastDeploymentConfig"] = endpoint.deployment
        if endpoint.fleet is not None:
            resolved = seconds(endpoint.fleet.started)
            answer["ProductionVariants"] = [_summary(v, resolved) for v in endpoint.fleet.variants.values()]
            if endpoint.fleet.shadows:
                answer["ShadowProductionVariants"] = [_summary(v, resolved) for v in endpoint.fleet.shadows.values()]
            if "AsyncInferenceConfig" in endpoint.fleet.config.request:
                answer["AsyncInferenceConfig"] = endpoint.fleet.config.request["AsyncInferenceConfig"]
            capture = endpoint.fleet.capture_config
            if endpoint.pending is not None:
                answer["PendingDeploymentSummary"] = _pending_summary(endpoint.pending)
            if capture is not None:
                answer["DataCaptureConfig"] = _capture_summary(capture)
        return answer

    def _list(self, region: str, params: Params) -> Answer:
        endpoints = [endpoint for endpoint in self._store.endpoints.values() if endpoint.region == region]
        if "StatusEquals" in params:
            endpoints = [endpoint for endpoint in endpoints if endpoint.status == params["StatusEquals"]]
        keys: dict[str, Callable[[Any], Any]] = {
            "Name": lambda e: e.name,
            "CreationTime": lambda e: e.created,
            "Status": lambda e: e.status,
        }
        found, token = page(endpoints, params, keys)
        summaries = [
            {
                "EndpointName": endpoint.name,
                "EndpointArn": endpoint.arn,
                "CreationTime": seconds(endpoint.created),
                "LastModifiedTime": seconds(endpoint.modified),
                "EndpointStatus": endpoint.status,
            }
            for endpoint in found
        ]
        return {"Endpoints": summaries, **token}

    def _delete(self, region: str, params: Params) -> Answer:
        self._hosting.delete(self._store.settled(region, params["EndpointName"]))
        return {}

    def _add_tags(self, tags: dict[str, str], params: Params) -> Answer:
        tags |= _tags(params)
        return self._list_tags(tags, params)

    def _list_tags(self, tags: dict[str, str], _: Params) -> Answer:
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _delete_tags(self, tags: dict[str, str], params: Params) -> Answer:
        for key in params["TagKeys"]:
            tags.pop(key, None)
        return {}


def _tags(params: Params) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}


def _declared(variant: Mapping[str, Any]) -> dict[str, Any]:
    """A production variant as it reads back: the weight is a float32, 1 unless it is given; zero is a weight."""
    given = variant.get("InitialVariantWeight")
    weight = {} if "ModelName" not in variant else {"InitialVariantWeight": float32(1.0 if given is None else given)}
    return {**variant, **weight}


def _retained(endpoint: Endpoint, params: Params) -> dict[str, Any]:
    """What RetainAllVariantProperties keeps, less what ExcludeRetainedVariantProperties names."""
    if not params.get("RetainAllVariantProperties") or endpoint.fleet is None:
        return {}
    excluded = {p["VariantPropertyType"] for p in params.get("ExcludeRetainedVariantProperties", ())}
    kept: dict[str, Any] = {}
    for name, variant in endpoint.fleet.variants.items():
        kept[name] = {}
        if "DesiredInstanceCount" not in excluded:
            kept[name]["InitialInstanceCount"] = variant.count
        if "DesiredWeight" not in excluded:
            kept[name]["InitialVariantWeight"] = variant.weight
    if "DataCaptureConfig" not in excluded:
        kept[""] = endpoint.fleet.capture_config
    return kept


def _summary(variant: Variant, resolved: float) -> Answer:
    if variant.serverless is None:
        size: Answer = {"CurrentInstanceCount": variant.count, "DesiredInstanceCount": variant.count}
    else:
        size = {"CurrentServerlessConfig": variant.serverless, "DesiredServerlessConfig": variant.serverless}
    return {
        "VariantName": variant.name,
        "DeployedImages": [
            {
                "SpecifiedImage": variant.container.image,
                "ResolvedImage": variant.container.image,
                "ResolutionTime": resolved,
            }
        ],
        "CurrentWeight": variant.weight,
        "DesiredWeight": variant.weight,
        **size,
    }


def _pending_summary(pending: Pending) -> Answer:
    resolved = seconds(pending.fleet.started)
    status = [{"Status": pending.stage, "StartTime": seconds(pending.changed)}]
    return {
        "EndpointConfigName": pending.fleet.config.name,
        "StartTime": seconds(pending.began),
        "ProductionVariants": [
            {**_summary(variant, resolved), "VariantStatus": status, "CurrentInstanceCount": variant.fleet.size}
            for variant in pending.fleet.variants.values()
        ],
    }


def _check_deployment(endpoint: Endpoint, config: Config, deployment: Mapping[str, Any] | None) -> None:
    """Refuse what the guardrails refuse."""
    if not deployment:
        return
    if "BlueGreenUpdatePolicy" in deployment and "RollingUpdatePolicy" in deployment:
        raise invalid("DeploymentConfig must have either BlueGreenUpdatePolicy or RollingUpdatePolicy, not both.")
    policy = deployment.get("BlueGreenUpdatePolicy", {})
    kind = policy.get("TrafficRoutingConfiguration", {}).get("Type", "ALL_AT_ONCE")
    routing = policy.get("TrafficRoutingConfiguration", {})
    for needed, member in (("CANARY", "CanarySize"), ("LINEAR", "LinearStepSize")):
        if kind == needed and member not in routing:
            raise invalid(f"TrafficRoutingConfiguration of type {kind} needs {member}.")
    variants = config.request["ProductionVariants"]
    if "RollingUpdatePolicy" in deployment and len(variants) > 1:
        raise invalid("RollingUpdatePolicy is not supported for endpoints with several production variants.")
    if kind != "ALL_AT_ONCE" and endpoint.fleet is not None:
        names = {variant["VariantName"] for variant in variants}
        if names != set(endpoint.fleet.variants):
            raise invalid(
                f"A {kind} deployment must keep the variants: {', '.join(sorted(endpoint.fleet.variants))},"
                f" got {', '.join(sorted(names))}."
            )


def _capture_summary(capture: Mapping[str, Any]) -> Answer:
    enabled = capture.get("EnableCapture", True)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
        "DestinationS3Uri": capture["DestinationS3Uri"],
        "KmsKeyId": capture.get("KmsKeyId", ""),
    }
