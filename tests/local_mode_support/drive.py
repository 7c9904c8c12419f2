"""The SageMaker SDK in its own environment (.venv-aws), for tests: an object a line in, an object a line out.

{"do": "train", …}   ModelTrainer's local mode        {"answer": [names of files]}
{"do": "serve", …}   LocalSession's endpoint          {"answer": [bodies]}
{"do": "submit", …}  ModelTrainer's request to AWS    {"answer": CreateTrainingJob's arguments}

What goes wrong is {"error": its traceback}. It imports for seconds: hence one process for all of a module's tests.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="us-east-1")
os.environ.update(AWS_EC2_METADATA_DISABLED="true", SAGEMAKER_TELEMETRY_OPT_OUT="true")
NOBODY = "http://127.0.0.1:9"
"""Nothing answers there: local mode asks AWS for nothing."""


def train(image: str, data: str, root: str, hosts: int, hyperparameters: dict[str, str]) -> list[str]:
    from sagemaker.core.training.configs import Compute, InputData
    from sagemaker.train.model_trainer import Mode, ModelTrainer

    os.environ["AWS_ENDPOINT_URL"] = NOBODY
    ModelTrainer(
        training_mode=Mode.LOCAL_CONTAINER,
        training_image=image,
        compute=Compute(instance_type="local_cpu", instance_count=hosts),
        hyperparameters=hyperparameters,
        input_data_config=[InputData(channel_name="train", data_source=data)],
        local_container_root=root,
        base_job_name="local-mode",
    ).train(wait=True)
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())


def serve(image: str, artifact: str, root: str, port: int, requests: list[tuple[str, str, str]]) -> list[str]:
    """Answers to requests: content type, accept, body."""
    import boto3
    from sagemaker.core.local.local_session import LocalSession

    os.environ["AWS_ENDPOINT_URL"] = NOBODY
    session = LocalSession(boto_session=boto3.Session(region_name="us-east-1"))
    session.config = {"local": {"container_root": root, "serving_port": port}}
    client, runtime = session.sagemaker_client, session.sagemaker_runtime_client
    name, role = "local-mode", "arn:aws:iam::123456789012:role/none"
    model = {"Image": image, "ModelDataUrl": Path(artifact).as_uri(), "Environment": {}}
    client.create_model(ModelName=name, PrimaryContainer=model, ExecutionRoleArn=role)
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "local", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    try:
        return [
            runtime.invoke_endpoint(EndpointName=name, ContentType=kind, Accept=accept, Body=body.encode())["Body"]
            .read()
            .decode()
            for kind, accept, body in requests
        ]
    finally:
        client.delete_endpoint(EndpointName=name)
        client.delete_endpoint_config(EndpointConfigName=name)
        client.delete_model(ModelName=name)


def submit(environment: dict[str, str], name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Have ModelTrainer ask for a job that is described by CreateTrainingJob's arguments; what it sent."""
    import boto3
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.shapes import CheckpointConfig, MetricDefinition, OutputDataConfig, StoppingCondition, Tag
    from sagemaker.core.training.configs import Compute, InputData, Networking
    from sagemaker.train.model_trainer import ModelTrainer

    os.environ.update(environment)
    algorithm, resources, network = (
        request["AlgorithmSpecification"], request["ResourceConfig"], request.get("VpcConfig", {})
    )  # fmt: skip
    sent: list[dict[str, Any]] = []
    boto = boto3.Session(region_name="us-east-1")
    boto.events.register(
        "provide-client-params.sagemaker.CreateTrainingJob", lambda params, **_: sent.append(dict(params))
    )
    (channel,) = request["InputDataConfig"]
    trainer = ModelTrainer(
        sagemaker_session=Session(boto_session=boto),
        role=request["RoleArn"],
        base_job_name=name,
        training_image=algorithm["TrainingImage"],
        training_input_mode=algorithm["TrainingInputMode"],
        compute=Compute(
            **snake(resources),
            enable_managed_spot_training=request["EnableManagedSpotTraining"],
        ),
        networking=Networking(
            subnets=network.get("Subnets"),
            security_group_ids=network.get("SecurityGroupIds"),
            enable_network_isolation=request.get("EnableNetworkIsolation"),
            enable_inter_container_traffic_encryption=request["EnableInterContainerTrafficEncryption"],
        ),
        stopping_condition=StoppingCondition(**snake(request["StoppingCondition"])),
        output_data_config=OutputDataConfig(**snake(request["OutputDataConfig"])),
        checkpoint_config=CheckpointConfig(**snake(request["CheckpointConfig"])),
        hyperparameters=request["HyperParameters"],
        input_data_config=[
            InputData(channel_name=channel["ChannelName"], data_source=channel["DataSource"]["S3DataSource"]["S3Uri"])
        ],
        tags=[Tag(key=tag["Key"], value=tag["Value"]) for tag in request["Tags"]],
    ).with_metric_definitions([MetricDefinition(**snake(one)) for one in algorithm["MetricDefinitions"]])
    trainer.train(wait=False, logs=False)
    return sent[-1]


def snake(members: dict[str, Any]) -> dict[str, Any]:
    """The SDK's names of the API's members."""
    from sagemaker.core.utils.code_injection.codec import pascal_to_snake

    return {pascal_to_snake(name): value for name, value in members.items()}


def main() -> None:
    """Do what standard input asks for, until its end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the SDK and the containers print to standard output
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            told = {"answer": {"train": train, "serve": serve, "submit": submit}[asked.pop("do")](**asked)}
        except Exception:  # noqa: BLE001 - the test shows it
            told = {"error": traceback.format_exc()}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
