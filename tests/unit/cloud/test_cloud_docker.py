"""What docker's refusals mean: one line each, with the remedy."""

from __future__ import annotations

import pytest

from infra.cloud.docker import explain


@pytest.mark.parametrize(
    ("words", "output", "expected"),
    [
        (
            ("version",),
            "Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?",
            "no Docker engine answers at",
        ),
        (
            ("ps",),
            "permission denied while trying to connect to the Docker daemon socket at unix:///x: permission denied",
            "add yourself to the group docker",
        ),
        (
            ("pull",),
            'Error response from daemon: Get "https://registry.invalid/v2/": lookup registry.invalid: no such host',
            "base:1 cannot be pulled (Error response from daemon",
        ),
        (
            ("build",),
            "Error processing tar file(exit status 1): write /x: no space left on device",
            "the disk of the Docker engine is full",
        ),
        (("push",), "denied: Your authorization token has expired. Reauthenticate", "the registry refuses base:1"),
        (("push",), 'Get "http://127.0.0.1:1/v2/": connect: connection refused', "the registry of base:1 cannot be"),
        (("run",), "exec /usr/bin/python: exec format error", "base:1 is for another processor than this machine's"),
        (("build",), "Step 3/9 : RUN x\nERROR: No matching distribution found for torch", "docker build: ERROR: No"),
        (("build",), "", "docker build: it gave no reason"),
    ],
)
def test_a_refusal_is_one_line_with_its_remedy(words: tuple[str, ...], output: str, expected: str) -> None:
    said = explain(words, output, "base:1")
    assert expected in said
    assert "\n" not in said
