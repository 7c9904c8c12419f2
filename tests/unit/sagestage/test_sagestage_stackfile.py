from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sagestage import stackfile
from sagestage.errors import SagestageError

VALUES = {
    "url": "http://127.0.0.1:4577",
    "region": "us-east-1",
    "image": "i",
    "champion": "s3://a",
    "challenger": "s3://b",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nmain: stacks\nstackConfigDir: stacks\n")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks/local.template.yaml").write_text(
        "config:\n  shop:champion: ${champion}\n  aws:endpoints:\n    - s3: ${url}\n"
    )
    return tmp_path


def test_the_local_stack_is_made_from_its_template(root: Path) -> None:
    stackfile.write_local(root, VALUES)
    config = stackfile.read(root, "local")
    assert config == {"shop:champion": "s3://a", "aws:endpoints": [{"s3": "http://127.0.0.1:4577"}]}
    assert stackfile.is_embedded(config)


def test_the_salt_that_pulumi_wrote_is_kept(root: Path) -> None:
    path = stackfile.write_local(root, VALUES)
    path.write_text(path.read_text() + "encryptionsalt: v1:abc=:v1:d\n")
    stackfile.write_local(root, VALUES | {"url": "http://127.0.0.1:9"})
    content = yaml.safe_load(path.read_text())
    assert content["encryptionsalt"] == "v1:abc=:v1:d"
    assert content["config"]["aws:endpoints"] == [{"s3": "http://127.0.0.1:9"}]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"aws:endpoints": []},
        {"aws:endpoints": [{"s3": "http://10.0.0.1"}]},
        {"aws:endpoints": [{"s3": "https://s3.amazonaws.com"}]},
    ],
)
def test_a_stack_without_loopback_endpoints_is_not_embedded(config: dict[str, object]) -> None:
    assert not stackfile.is_embedded(config)


def test_one_foreign_endpoint_is_enough_to_refuse() -> None:
    assert not stackfile.is_embedded(
        {"aws:endpoints": [{"s3": "http://127.0.0.1:1", "iam": "https://iam.amazonaws.com"}]}
    )


def test_a_missing_stack_names_the_stacks_there_are(root: Path) -> None:
    (root / "stacks/Pulumi.prod.yaml").write_text("config: {}\n")
    with pytest.raises(SagestageError, match=r"no stack 'staging'.*there are: prod"):
        stackfile.read(root, "staging")


@pytest.mark.parametrize(
    ("text", "match"), [("config: [1]\n", "'config' must be a mapping"), ("a: [\n", "not valid YAML")]
)
def test_a_broken_stack_file_is_one_line(root: Path, text: str, match: str) -> None:
    (root / "stacks/Pulumi.local.yaml").write_text(text)
    with pytest.raises(SagestageError, match=match) as caught:
        stackfile.read(root, "local")
    assert "\n" not in str(caught.value)


def test_a_template_with_an_unknown_value_says_which_are_known(root: Path) -> None:
    (root / "stacks/local.template.yaml").write_text("config:\n  a: ${rival}\n")
    with pytest.raises(SagestageError, match=r"no value for \$\{rival\}; known are url"):
        stackfile.write_local(root, VALUES)


@pytest.mark.parametrize(
    ("key", "match"),
    [("shop:champoin", "did you mean shop:champion"), ("shop:zz9", "known are shop:champion, shop:image")],
)
def test_a_key_that_the_project_does_not_declare_is_refused(root: Path, key: str, match: str) -> None:
    with (root / "Pulumi.yaml").open("a") as file:
        file.write("config:\n  champion: {type: string}\n  shop:image: {type: string}\n")
    (root / "stacks/Pulumi.local.yaml").write_text(f"config:\n  shop:image: i\n  aws:region: r\n  {key}: 1\n")
    with pytest.raises(SagestageError, match=match):
        stackfile.read(root, "local")


def test_without_declarations_every_key_is_taken(root: Path) -> None:
    (root / "stacks/Pulumi.local.yaml").write_text("config:\n  shop:anything: 1\n")
    assert stackfile.read(root, "local") == {"shop:anything": 1}
