from __future__ import annotations

import orjson
import pytest

from inference.contract.errors import InputError, UnsupportedContentTypeError
from inference.errors import (
    DeadlineError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    ServingError,
    SlowRequestError,
    problem,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("expected a number", row=3, column="temp"), 400),
        (NotFoundError("no such path: /x"), 404),
        (MethodNotAllowedError("PUT", "/ping", "GET"), 405),
        (NotAcceptableError("image/png"), 406),
        (SlowRequestError("body", 0.5), 408),
        (PayloadTooLargeError("large"), 413),
        (UnsupportedContentTypeError("image/png"), 415),
        (OverloadedError("full"), 503),
        (DeadlineError("late"), 504),
    ],
)
def test_every_error_knows_its_status(error: Exception, status: int) -> None:
    answer = problem(error)
    assert answer.status == status
    assert str(error) in orjson.loads(answer.body)["error"]


def test_an_input_error_names_row_and_column() -> None:
    assert orjson.loads(problem(InputError("expected a number", row=3, column="temp")).body) == {
        "error": "row 3, column 'temp': expected a number",
        "row": 3,
        "column": "temp",
    }


def test_an_unknown_fault_gives_nothing_away() -> None:
    answer = problem(RuntimeError("/secret/path"))
    assert answer.status == 500
    assert b"secret" not in answer.body


def test_overload_says_when_to_come_back() -> None:
    assert ("retry-after", "1") in problem(OverloadedError("full")).headers


def test_a_wrong_method_says_which_is_right() -> None:
    assert ("allow", "POST") in problem(MethodNotAllowedError("GET", "/invocations", "POST")).headers


def test_every_server_side_refusal_has_a_remedy() -> None:
    kinds = [kind for kind in ServingError.__subclasses__() if kind is not MethodNotAllowedError]
    assert kinds
    assert all(kind.remedy for kind in kinds)


def test_an_error_quotes_only_a_part_of_what_was_sent() -> None:
    answer = problem(InputError("got\n" + "x" * 1_000_000))
    assert len(answer.body) < 1_000
    assert "\n" not in answer.text
