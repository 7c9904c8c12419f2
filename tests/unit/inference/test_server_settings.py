from __future__ import annotations

from pathlib import Path

import pytest

from inference.settings import VARIABLES, Settings, SettingsError, from_environment


def test_an_empty_environment_gives_the_containers_defaults() -> None:
    settings = from_environment({})
    assert settings == Settings()
    assert (settings.port, settings.model, settings.max_payload_bytes) == (8080, Path("/opt/ml/model"), 6 * 2**20)


def test_every_setting_has_a_variable() -> None:
    assert set(VARIABLES) == set(Settings.model_fields)


def test_sagemakers_variables_are_read() -> None:
    settings = from_environment(
        {"SAGEMAKER_BIND_TO_PORT": "9000", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "2", "SAGEMAKER_MODEL_SERVER_TIMEOUT": "20"}
    )
    assert (settings.port, settings.max_payload_mb, settings.deadline_s) == (9000, 2, 20.0)


def test_the_command_line_wins_over_the_environment() -> None:
    assert from_environment({"SAGEMAKER_BIND_TO_PORT": "9000"}, port=9001, host=None).port == 9001


def test_an_empty_variable_counts_as_not_set() -> None:
    assert from_environment({"SAGESTAGE_MODEL_SHA256": "", "SAGEMAKER_BIND_TO_PORT": ""}) == Settings()


def test_all_problems_are_told_at_once_with_their_variables() -> None:
    environment = {
        "SAGEMAKER_BIND_TO_PORT": "http",
        "SAGESTAGE_PREDICTOR": "abacus",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "0",
        "SAGESTAGE_MODEL_SHA256": "abc",
    }
    with pytest.raises(SettingsError) as caught:
        from_environment(environment)
    message = str(caught.value)
    assert "\n" not in message
    for variable, value in environment.items():
        assert f"{variable}={value!r}" in message


def test_zero_is_a_value_where_it_means_something() -> None:
    assert from_environment({"SAGESTAGE_MAX_WAIT_MS": "0"}).max_wait_ms == 0.0


def test_a_cache_for_several_workers_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match="hit or miss by chance"):
        from_environment({"SAGESTAGE_CACHE_ITEMS": "10", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"})
