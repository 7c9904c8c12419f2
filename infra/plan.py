"""Models, configurations and endpoints as plain resource arguments: snake_case keywords for pulumi_aws's classes.

Pure: nothing is done here, and outputs of other resources are passed on untouched. Units are converted once, here.
Alarms, scaling and buckets have modules of their own.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from infra.deploy_spec import AllAtOnce, Canary, Deployment, Linear, Rolling, maximum_minutes
from infra.endpoint_spec import EndpointSpec
from infra.names import DIGEST_TAG, DIGEST_VARIABLE
from infra.spec import Async, Capture, Container, ModelSpec, Variant

Args = dict[str, Any]

CAPTURE_PREFIX = "capture"
OUTPUT_PREFIX, FAILURE_PREFIX, INPUT_PREFIX = "output", "failure", "input"
NEW_MODEL_ON = ("vpcConfig", "inferenceExecutionConfig")
"""What the AWS provider plans as an update of a model in place, and SageMaker has no call for."""


def model(spec: ModelSpec, *, digests: Mapping[str, Any], role_arn: Any, tags: Mapping[str, Any]) -> Args:
    """aws.sagemaker.Model: digests go in as tags and variables, so that new content is a new model.

    Args:
        spec: what was declared.
        digests: container's name ("" for the only one) to the digest of its artifact; empty where none is known.
        role_arn: the role that SageMaker assumes.
        tags: the stack's tags.
    """
    args: Args = {"execution_role_arn": role_arn}
    if spec.containers:
        args["containers"] = [
            {"container_hostname": one.name, **_container(one, digests.get(one.name))} for one in spec.containers
        ]
        args["inference_execution_config"] = {"mode": spec.execution or "Serial"}
    elif spec.package is not None:
        args["primary_container"] = {"model_package_name": spec.package, **_environment(spec.environment)}
    else:
        args["primary_container"] = _container(spec, digests.get(""))
        if spec.multi_model:
            args["primary_container"]["mode"] = "MultiModel"
    if spec.network is not None:
        if spec.network.subnets:
            args["vpc_config"] = {
                "subnets": list(spec.network.subnets),
                "security_group_ids": list(spec.network.security_groups),
            }
        args["enable_network_isolation"] = spec.network.isolated
    marks = {f"{DIGEST_TAG}{f'-{name}' if name else ''}": digest for name, digest in digests.items()}
    args["tags"] = {**(spec.tags or {}), **tags, **marks}
    return args


def _container(spec: ModelSpec | Container, digest: Any) -> Args:
    known = {} if digest is None else {DIGEST_VARIABLE: digest}
    return {
        "image": spec.image,
        "model_data_url": spec.artifact,
        **_environment({**spec.environment, **known}),
    }


def _environment(environment: Mapping[str, Any]) -> Args:
    return {"environment": dict(environment)} if environment else {}


def endpoint_config(
    spec: EndpointSpec, *, capture_uri: Any = None, async_uri: Any = None, tags: Mapping[str, Any]
) -> Args:
    """aws.sagemaker.EndpointConfiguration, without a name: it is immutable, so that a name would stand in its way.

    Core dumps stay off: they hold customers' requests, and nothing here asks for them.
    """
    args: Args = {
        "production_variants": [_variant(variant) for variant in spec.variants],
        "tags": {**(spec.tags or {}), **tags},
    }
    if spec.shadow is not None:
        args["shadow_production_variants"] = [_variant(spec.shadow)]
    if spec.kms_key is not None:
        args["kms_key_arn"] = spec.kms_key
    if spec.capture is not None:
        args["data_capture_config"] = _capture(spec.capture, capture_uri)
    if spec.asynchronous is not None:
        args["async_inference_config"] = _async(spec.asynchronous, async_uri)
    return args


def _variant(variant: Variant) -> Args:
    args: Args = {
        "variant_name": variant.name,
        "model_name": variant.model.model_name,
        "initial_variant_weight": variant.weight,
    }
    if variant.serverless is not None:
        args["serverless_config"] = {
            "memory_size_in_mb": variant.serverless.memory_mb,
            "max_concurrency": variant.serverless.concurrency,
        }
        if variant.serverless.provisioned is not None:
            args["serverless_config"]["provisioned_concurrency"] = variant.serverless.provisioned
        return args
    args |= {"instance_type": variant.instance, "initial_instance_count": variant.count}
    if variant.startup_timeout_s is not None:
        args["container_startup_health_check_timeout_in_seconds"] = variant.startup_timeout_s
    if variant.download_timeout_s is not None:
        args["model_data_download_timeout_in_seconds"] = variant.download_timeout_s
    if variant.ami is not None:
        args["inference_ami_version"] = variant.ami
    return args


def _capture(capture: Capture, uri: Any) -> Args:
    """Both directions, with the same content types: monitors fail on records whose two encodings differ."""
    args: Args = {
        "enable_capture": True,
        "initial_sampling_percentage": capture.percent,
        "destination_s3_uri": uri,
        "capture_options": [{"capture_mode": "Input"}, {"capture_mode": "Output"}],
        "capture_content_type_header": {
            "csv_content_types": list(capture.csv_types),
            "json_content_types": list(capture.json_types),
        },
    }
    if capture.kms_key is not None:
        args["kms_key_id"] = capture.kms_key
    return args


def _async(queue: Async, uri: Any) -> Args:
    output: Args = {"s3_output_path": uri(OUTPUT_PREFIX), "s3_failure_path": uri(FAILURE_PREFIX)}
    if queue.kms_key is not None:
        output["kms_key_id"] = queue.kms_key
    topics = {"success": arn_of(queue.success_topic), "error": arn_of(queue.error_topic)}
    notify: Args = {f"{name}_topic": arn for name, arn in topics.items() if arn is not None}
    if queue.include_response:
        notify["include_inference_response_ins"] = [
            f"{name.upper()}_NOTIFICATION_TOPIC" for name in queue.include_response
        ]
    if notify:
        output["notification_config"] = notify
    args: Args = {"output_config": output}
    if queue.concurrency is not None:
        args["client_config"] = {"max_concurrent_invocations_per_instance": queue.concurrency}
    return args


def arn_of(topic: Any) -> Any:
    """The ARN of a topic that is given as a component or as its ARN."""
    return getattr(topic, "topic_arn", topic)


def endpoint(spec: EndpointSpec, *, config_name: Any, alarm_names: Sequence[Any], tags: Mapping[str, Any]) -> Args:
    """aws.sagemaker.Endpoint. The rollback block is always there: adding it later replaces a live endpoint.

    A serverless endpoint has neither: SageMaker knows no guardrails there.
    """
    args: Args = {
        "name": spec.physical_name,
        "endpoint_config_name": config_name,
        "tags": {**(spec.tags or {}), **tags},
    }
    if spec.policy is not None:
        args["deployment_config"] = {
            **deployment(spec.policy, max(variant.most for variant in spec.variants)),
            "auto_rollback_configuration": {"alarms": [{"alarm_name": name} for name in alarm_names]},
        }
    return args


def deployment(deploy: Deployment, instances: int) -> Args:
    """How an update reaches the traffic of variants with at most so many instances, in the API's words.

    With all traffic moved at once there is nothing to wait for between steps: the old fleet's stay is the bake.
    """
    longest = {"maximum_execution_timeout_in_seconds": maximum_minutes(deploy, instances) * 60}
    if isinstance(deploy, Rolling):
        policy = {
            "maximum_batch_size": _size(deploy),
            "wait_interval_in_seconds": deploy.bake_minutes * 60,
            **longest,
        }
        if deploy.rollback_percent is not None:
            policy["rollback_maximum_batch_size"] = {"type": "CAPACITY_PERCENT", "value": deploy.rollback_percent}
        return {"rolling_update_policy": policy}
    match deploy:
        case Canary():
            routing = {"type": "CANARY", "canary_size": _size(deploy)}
            wait, stay = deploy.bake_minutes, deploy.keep_old_minutes
        case Linear():
            routing = {"type": "LINEAR", "linear_step_size": _size(deploy)}
            wait, stay = deploy.bake_minutes, deploy.keep_old_minutes
        case AllAtOnce():
            routing = {"type": "ALL_AT_ONCE"}
            wait, stay = 0, deploy.bake_minutes
    return {
        "blue_green_update_policy": {
            "traffic_routing_configuration": {**routing, "wait_interval_in_seconds": wait * 60},
            "termination_wait_in_seconds": stay * 60,
            **longest,
        }
    }


def _size(deploy: Canary | Linear | Rolling) -> Args:
    if deploy.instances is not None:
        return {"type": "INSTANCE_COUNT", "value": deploy.instances}
    return {"type": "CAPACITY_PERCENT", "value": deploy.percent}


def document(statements: Sequence[Args]) -> str:
    """An IAM policy document as JSON text, the same for the same statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)
