"""The SageMaker SDK's local mode, in the SDK's own environment (.venv-aws): prints one JSON object.

    python drive.py train IMAGE DATA ROOT HOSTS HYPERPARAMETERS
    python drive.py serve IMAGE ARTIFACT ROOT PORT REQUESTS

REQUESTS is a JSON file: a list of [content type, accept, body].
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="us-east-1")
os.environ.update(AWS_EC2_METADATA_DISABLED="true", SAGEMAKER_TELEMETRY_OPT_OUT="true")


def train(image: str, data: str, root: str, hosts: str, hyperparameters: str) -> dict[str, object]:
    from sagemaker.core.training.configs import Compute, InputData
    from sagemaker.train.model_trainer import Mode, ModelTrainer

    ModelTrainer(
        training_mode=Mode.LOCAL_CONTAINER,
        training_image=image,
        compute=Compute(instance_type="local_cpu", instance_count=int(hosts)),
        hyperparameters=json.loads(hyperparameters),
        input_data_config=[InputData(channel_name="train", data_source=data)],
        local_container_root=root,
        base_job_name="local-mode",
    ).train(wait=True)
    files = sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())
    return {"files": files}


def serve(image: str, artifact: str, root: str, port: str, requests: str) -> dict[str, object]:
    import boto3
    from sagemaker.core.local.local_session import LocalSession

    session = LocalSession(boto_session=boto3.Session(region_name="us-east-1"))
    session.config = {"local": {"container_root": root, "serving_port": int(port)}}
    client, runtime = session.sagemaker_client, session.sagemaker_runtime_client
    name, role = "local-mode", "arn:aws:iam::123456789012:role/none"
    model = {"Image": image, "ModelDataUrl": Path(artifact).as_uri(), "Environment": {}}
    client.create_model(ModelName=name, PrimaryContainer=model, ExecutionRoleArn=role)
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "local", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    try:
        answers = []
        for kind, accept, body in json.loads(Path(requests).read_text()):
            answer = runtime.invoke_endpoint(EndpointName=name, ContentType=kind, Accept=accept, Body=body.encode())
            answers.append(answer["Body"].read().decode())
    finally:
        client.delete_endpoint(EndpointName=name)
    return {"answers": answers}


if __name__ == "__main__":
    kept = os.dup(1)
    os.dup2(2, 1)  # the SDK and the containers print to standard output
    result = {"train": train, "serve": serve}[sys.argv[1]](*sys.argv[2:])
    os.write(kept, json.dumps(result).encode())
