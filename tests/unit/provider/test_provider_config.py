import json
import sys
from pathlib import Path

import pytest
from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import PropertyValue

from infra.provider.config import Settings, is_loopback, problems, settings
from infra.provider.errors import ConfigurationError
from infra.provider.plugin import install_plugin
from infra.provider.provider import AwsProvider
from infra.provider.serving import foreign_backend
from infra.provider.values import Plain, Properties, property_map
from tests.provider_support.driving import wait

URL = "http://127.0.0.1:4577"
GOOD: Properties = {"region": "eu-west-1", "accessKey": "a", "secretKey": "b", "endpoints": json.dumps([{"s3": URL}])}


def test_endpoints_come_as_json_text_list_or_object() -> None:
    forms: list[Plain] = [json.dumps([{"s3": URL}]), [{"s3": URL}], {"s3": URL}, json.dumps({"s3": URL})]
    for endpoints in forms:
        assert settings({**GOOD, "endpoints": endpoints}).endpoint("s3") == URL


def test_a_service_goes_by_each_of_its_names() -> None:
    for name in ("appautoscaling", "applicationautoscaling"):
        assert Settings("r", "a", "b", {name: URL}).endpoint("application-autoscaling") == URL


def test_a_service_without_endpoint_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="aws:endpoints has no address for iam"):
        settings(GOOD).endpoint("iam")


@pytest.mark.parametrize(
    "url",
    ["https://sagemaker.us-east-1.amazonaws.com", "http://10.0.0.1:4577", "http://localhost.evil.com", "127.0.0.1:4577",
     "http://127.0.0.1@evil.com/", "http://user:word@127.0.0.1", "ftp://127.0.0.1", "http://0.0.0.0:1", ""],
)  # fmt: skip
def test_an_address_that_is_not_this_machine_is_refused_by_value(url: str) -> None:
    assert not is_loopback(url)
    with pytest.raises(ConfigurationError, match="not on this machine"):
        settings({**GOOD, "endpoints": [{"s3": URL, "sagemaker": url}]})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost:4577/", "http://[::1]:80", "https://127.9.9.9"]
)
def test_loopback_is_accepted(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": None}, "aws:region is missing"),
        ({"accessKey": ""}, "aws:accessKey is missing"),
        ({"endpoints": None}, "aws:endpoints is missing"),
        ({"endpoints": "[]"}, "aws:endpoints is missing"),
        ({"endpoints": "{"}, "aws:endpoints is not JSON: '{'"),
        ({"endpoints": "[7]"}, "aws:endpoints must hold objects"),
        ({"endpoints": 7}, "aws:endpoints must be a list"),
        ({"defaultTags": {"tags": 7}}, "aws:defaultTags must be"),
    ],
)
def test_a_bad_configuration_is_refused_by_name(change: Properties, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        settings(GOOD | change)


def test_settings_of_the_real_provider_that_matter_not_are_accepted_and_others_named() -> None:
    assert problems({**GOOD, "skipMetadataApiCheck": "true", "s3UsePathStyle": "true", "version": "7.51.1"}) == []
    assert [name for name, _ in problems({**GOOD, "profile": "production"})] == ["profile"]


def test_the_secret_key_is_in_no_text() -> None:
    assert "hunter2" not in repr(settings({**GOOD, "secretKey": "hunter2"}))


def test_an_unconfigured_provider_says_so() -> None:
    with pytest.raises(ConfigurationError, match="not configured"):
        wait(AwsProvider().invoke(p.InvokeRequest("aws:index/getCallerIdentity:getCallerIdentity", {})))


def test_check_config_reports_what_configure_would_refuse() -> None:
    bad = {**property_map(GOOD), "endpoints": PropertyValue("https://s3.amazonaws.com")}
    answer = wait(AwsProvider().check_config(p.CheckRequest("urn", {}, bad, b"")))
    assert [failure.property for failure in answer.failures or []] == ["endpoints"]


def test_default_tags_come_as_json() -> None:
    assert settings({**GOOD, "defaultTags": '{"tags": {"team": "ml"}}'}).default_tags == {"team": "ml"}


@pytest.mark.parametrize("url", ["", "https://api.pulumi.com", "s3://states", "file:///home/me/.pulumi"])
def test_the_plugin_refuses_a_users_own_backend(url: str) -> None:
    assert foreign_backend(url)


def test_the_plugin_accepts_its_own_backend(tmp_path: Path) -> None:
    assert not foreign_backend((tmp_path / ".sagestage" / "pulumi").as_uri())


def test_the_plugin_is_an_executable_of_this_interpreter(tmp_path: Path) -> None:
    path = install_plugin(tmp_path / "a folder")
    assert path.name == "pulumi-resource-aws"
    assert path.stat().st_mode & 0o111
    assert sys.executable in path.read_text()
    assert install_plugin(tmp_path / "a folder") == path
