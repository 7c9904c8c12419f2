"""What instances print is in CloudWatch Logs, and `sagestage logs` shows it."""

import itertools
from pathlib import Path

import pytest

from sagestage.errors import SagestageError
from sagestage.logs import events
from tests.cloud_support.helpers import eventually, running


def test_what_instances_print_is_in_cloudwatch_logs(tmp_path: Path) -> None:
    with running(tmp_path) as cloud:
        name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"SAYS": "good morning"})}]))
        logs = cloud.client("logs")
        found = eventually(
            lambda: logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Endpoints/")["logGroups"], bool
        )
        assert [group["logGroupName"] for group in found] == [f"/aws/sagemaker/Endpoints/{name}"]
        ((stream, text),) = events(logs, name)
        assert stream.startswith("main/i-")
        assert text == "good morning"
        cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"say more")
        followed = itertools.islice(events(logs, name, follow=True, variant="main"), 2)
        assert [text for _, text in followed] == ["good morning", "more"]
        with pytest.raises(SagestageError, match=f"endpoint 'other' has no logs; endpoints with logs: {name}"):
            next(events(logs, "other"))
