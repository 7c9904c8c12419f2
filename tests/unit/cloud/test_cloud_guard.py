import pytest

from infra.cloud.errors import CloudError
from infra.cloud.guard import refusal, require_loopback


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4577", "localhost:4577", "bucket.localhost:4577", "[::1]:4577", "127.8.9.1", "LOCALHOST."]
)
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert refusal({"Host": host}) is None


@pytest.mark.parametrize(
    "host",
    ["", "example.com", "127.0.0.1.example.com", "localhost.example.com:80", "0.0.0.0", "[::2]:1"],  # noqa: S104 - refused
)
def test_any_other_name_is_refused(host: str) -> None:
    assert "not a loopback name" in str(refusal({"Host": host}))


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost:3000"}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
def test_web_pages_are_refused(headers: dict[str, str]) -> None:
    assert "does not answer web pages" in str(refusal({"Host": "localhost"} | headers))


def test_a_person_at_a_browser_is_answered() -> None:
    assert refusal({"Host": "localhost:4577", "Sec-Fetch-Site": "none"}) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "example.com"])  # noqa: S104 - refused
def test_only_loopback_is_listened_on(host: str) -> None:
    require_loopback("127.0.0.1")
    require_loopback("::1")
    with pytest.raises(CloudError, match=f"cannot listen on {host}"):
        require_loopback(host)
