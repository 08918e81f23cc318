"""Which requests reach a server of this machine: those for its own names that no page of another origin has made."""

from __future__ import annotations

import pytest

from streamwave.util.own_site import OwnNames, host_of, refusal

LOCAL = OwnNames("127.0.0.1", ("studio.example",))


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost:4200", "localhost"), ("[::1]:4200", "::1"), ("[::1]", "::1"), ("Studio.Example", "studio.example"),
        ("", None), ("a@b", None), ("a/b", None), ("a:x", None), ("a:99999", None), ("[::1", None), ("a?b", None),
    ],
)  # fmt: skip
def test_hosts(authority: str, host: str | None) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "127.9.9.9", "localhost:1", "[::1]:4200", "studio.example:443"])
def test_own_names(host: str) -> None:
    assert refusal({"host": host}, "POST", LOCAL) is None
    assert refusal({"host": host, "origin": f"http://{host}"}, "POST", LOCAL) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example:4200", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1:4200", "0.0.0.0:4200"],
)  # fmt: skip
def test_a_name_that_somebody_else_can_point_here(host: str) -> None:
    assert "host name" in str(refusal({"host": host, "origin": f"http://{host}"}, "GET", LOCAL))


def test_a_server_for_all_addresses_answers_to_all_addresses_and_to_no_names() -> None:
    for listening in ("0.0.0.0", "::"):
        assert "192.0.2.1:8081" in OwnNames(listening)
        assert "evil.example:8081" not in OwnNames(listening)
    assert "ingest:8081" in OwnNames("ingest")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:8080", "http://localhost:4200", "null", "", "file://"]
)
def test_pages_of_other_origins(origin: str) -> None:
    assert "other origins" in str(refusal({"host": "127.0.0.1:4200", "origin": origin}, "POST", LOCAL))


def test_a_proxy_in_front() -> None:
    assert refusal({"host": "127.0.0.1:4200", "origin": "https://studio.example"}, "POST", LOCAL) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_pages_of_other_origins_load_without_saying_so(site: str) -> None:
    headers = {"host": "127.0.0.1:4200", "sec-fetch-site": site}
    assert refusal(headers | {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, "GET", LOCAL)
    assert refusal(headers | {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, "GET", LOCAL)
    assert refusal(headers | {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, "POST", LOCAL)
    # A link that somebody follows is no more than an address that they type.
    assert refusal(headers | {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, "GET", LOCAL) is None
    assert refusal({"host": "localhost:4200", "sec-fetch-site": "same-origin"}, "GET", LOCAL) is None
