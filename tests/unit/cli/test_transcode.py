"""What is said when a file has been transcoded: addresses that players can really read."""

from __future__ import annotations

import pytest

from streamwave.cli.transcode import where_to_watch
from streamwave.config.settings import Settings
from streamwave.storage.outputs import outputs


@pytest.mark.parametrize(
    ("places", "settings", "address"),
    [
        ("/srv/out", {}, "/srv/out/master.m3u8"),
        ("s3://films/tv/", {"S3_REGION": "eu-1"}, "https://films.s3.eu-1.amazonaws.com/tv/master.m3u8"),
        ("s3://films", {}, "https://films.s3.amazonaws.com/master.m3u8"),
        ("s3://my.films/tv", {"S3_REGION": "eu-1"}, "https://s3.eu-1.amazonaws.com/my.films/tv/master.m3u8"),
        ("s3://films/a b", {"STREAMWAVE_S3_ENDPOINT": "http://nas:9000/"}, "http://nas:9000/films/a%20b/master.m3u8"),
        ("s3://films", {"STREAMWAVE_BASE_URLS": "https://cdn.example/tv"}, "https://cdn.example/tv/master.m3u8"),
        ('[{"url": "s3://films", "endpoint": "https://s3.example"}]', {}, "https://s3.example/films/master.m3u8"),
        ("s3://films, /srv/out", {"STREAMWAVE_BASE_URLS": "https://cdn.example/tv"}, "/srv/out/master.m3u8"),
    ],
)
def test_the_address_is_one_that_a_player_takes(
    monkeypatch: pytest.MonkeyPatch, places: str, settings: dict[str, str], address: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    said = where_to_watch(outputs(places), Settings.load(env_file=None))
    assert f"ffplay {address}[/bold]" in said and f"HLS   {address}\n" in said and "s3://" not in said
    assert ("allows reading its objects" in said) == ("s3" in address or "nas" in address)


def test_the_folder_is_served_that_was_written() -> None:
    said = where_to_watch(outputs("/srv/My talks"), Settings.load(env_file=None))
    assert "python -m services.media --root '/srv/My talks'" in said


def test_of_other_stores_nobody_knows_the_address() -> None:
    said = where_to_watch(outputs("gs://films/tv"), Settings.load(env_file=None))
    assert said == "serve gs://films/tv over HTTP to watch it, and set STREAMWAVE_BASE_URLS to that address"
