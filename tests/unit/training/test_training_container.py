from __future__ import annotations

import json
from pathlib import Path

import pytest

from training import container
from training.errors import ConfigError, DataError, TrainingError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "input/config").mkdir(parents=True)
    (tmp_path / "input/data/training").mkdir(parents=True)
    (tmp_path / "input/data/training/rows.csv").write_text("a,y\n1,2\n")
    return tmp_path


def give(base: Path, name: str, content: object) -> None:
    (base / f"input/config/{name}.json").write_text(json.dumps(content))


def test_settings_are_texts_and_the_file_is_the_channels(base: Path) -> None:
    give(
        base,
        "hyperparameters",
        {"target": '"y"', "learning-rate": "0.01", "hidden": "[8, 4]", "order": "a", "sagemaker_program": "x"},
    )
    config = container.read(base)
    assert (config.target, config.learning_rate, config.hidden, config.order) == ("y", 0.01, (8, 4), ("a",))
    assert config.data == base / "input/data/training"


def test_wrong_settings_are_told_together(base: Path) -> None:
    give(base, "hyperparameters", {"target": "y", "epochs": "none", "tarjet": "y"})
    with pytest.raises(ConfigError, match=r"'none'.*'tarjet'"):
        container.read(base)


def test_places_are_not_settings_here(base: Path) -> None:
    give(base, "hyperparameters", {"target": "y", "data": "s3://x"})
    with pytest.raises(ConfigError, match="'data' is not for SageMaker"):
        container.read(base)


def test_the_first_of_several_hosts_leads_and_each_has_a_worker(base: Path) -> None:
    give(base, "hyperparameters", {"target": "y"})
    give(base, "resourceconfig", {"hosts": ["algo-2", "algo-1"], "current_host": "algo-1"})
    hosts = container.hosts(base)
    assert (hosts.leads, hosts.others) == (True, ("algo-2",))
    assert container.read(base).workers == 2


def test_a_host_that_is_not_of_the_job_is_refused(base: Path) -> None:
    give(base, "resourceconfig", {"hosts": ["algo-1", "algo-2"], "current_host": "algo-3"})
    with pytest.raises(TrainingError, match="host 'algo-3' is not one of algo-1, algo-2"):
        container.read(base)


def test_files_that_are_not_json_are_named(base: Path) -> None:
    (base / "input/config/hyperparameters.json").write_text("{")
    with pytest.raises(TrainingError, match=r"hyperparameters\.json: cannot be read as JSON"):
        container.read(base)


def test_checkpoints_are_kept_where_the_job_has_a_folder_for_them(base: Path) -> None:
    give(base, "hyperparameters", {"target": "y"})
    assert container.read(base).checkpoint is None
    (base / "checkpoints").mkdir()
    assert container.read(base).checkpoint == str(base / "checkpoints")


def test_no_channel_and_an_unclear_one_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no channel"):
        container.channel(tmp_path / "elsewhere")
    (base / "input/data/training").rename(base / "input/data/one")
    (base / "input/data/two").mkdir()
    with pytest.raises(DataError, match="channels one, two: name one training"):
        container.channel(base)


def test_the_failure_file_is_short_enough_to_be_shown(base: Path) -> None:
    container.write_failure(base, "x" * 5_000)
    assert len((base / "output/failure").read_text()) == 1_024
