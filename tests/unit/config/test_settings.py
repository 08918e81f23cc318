"""Settings: where they come from, what they refuse and how they say it, and that their reference is in step."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.config import docs as settings_docs
from streamwave.config.fields import extra, variable_name
from streamwave.config.settings import Settings
from streamwave.errors import SettingsError, UsageError
from streamwave.storage.location import BaseUrl
from streamwave.storage.outputs import outputs, outputs_above, outputs_below


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(**environment: str) -> list[str]:
    """The lines of the error that these variables cause."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SettingsError) as caught:
        for name, value in environment.items():
            patch.setenv(name, value)
        Settings.load()
    return str(caught.value).splitlines()


def test_defaults_are_embedded_and_local(own_folder: Path) -> None:
    settings = Settings.load()
    assert settings.output_url == str(own_folder / "out")
    assert settings.spool_dir == own_folder / "var" / "spool"
    assert settings.prefect_home == own_folder / "var" / "prefect"
    assert settings.database_url.get_secret_value() == f"sqlite:///{own_folder}/var/streamwave.db"
    assert settings.segment_seconds == Fraction(2)
    assert settings.rtmp_url == "rtmp://127.0.0.1:19360/live"
    assert settings.ffmpeg_slot_count >= 1
    assert settings.stream_limits.spool_bytes == 20_000_000_000
    assert settings.warnings == ()


def test_names_of_the_original_work_without_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "USE_S3": "true", "S3_BUCKET": "films", "S3_REGION": "eu-west-1", "OUTPUT_DIR": "/srv/films",
        "FFMPEG_PATH": "/opt/ffmpeg", "RTMP_URL": "rtmp://media:1935/app",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.output_url == "s3://films"
    assert settings.s3_options == {"client_kwargs": {"region_name": "eu-west-1"}}
    assert (settings.output_dir, settings.ffmpeg_path) == ("/srv/films", "/opt/ffmpeg")
    assert settings.rtmp_url == "rtmp://media:1935/app"


@pytest.mark.parametrize("prefix", ["live/tv", "/live/tv/"])
def test_the_s3_prefix_is_part_of_the_output(prefix: str) -> None:
    assert Settings.load(use_s3=True, s3_bucket="films", s3_prefix=prefix).output_url == "s3://films/live/tv"


@pytest.mark.parametrize("address", ["s3://films/tv", "memory://x"])
def test_an_address_for_fsspec_stays_as_it_is(address: str) -> None:
    assert Settings.load(output_dir=address).output_url == address


def test_the_environment_wins_over_the_file_and_overrides_over_both(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_folder / ".env").write_text("STREAMWAVE_CRF=30\nSTREAMWAVE_PRESET=fast\nSTREAMWAVE_CHUNK_RETRIES=5\n")
    monkeypatch.setenv("STREAMWAVE_CRF", "28")
    settings = Settings.load(chunk_retries=7)
    assert (settings.crf, settings.preset, settings.chunk_retries) == (28, "fast", 7)


def test_defaults_follow_the_settings_that_they_are_made_from(own_folder: Path) -> None:
    settings = Settings.load(state_dir="state", rtmp_internal_port=1999, media_port=8888)
    assert settings.spool_dir == own_folder / "state" / "spool"
    assert settings.rtmp_url == "rtmp://127.0.0.1:1999/live"
    assert settings.public_url == "http://127.0.0.1:8888"


def test_segment_seconds_are_exact() -> None:
    assert Settings.load(segment_seconds="2.002").segment_seconds == Fraction(1001, 500)
    assert Settings.load(segment_seconds="1001/500").segment_seconds == Fraction(1001, 500)


def test_file_roots_are_written_like_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWAVE_ALLOWED_FILE_ROOTS", "/srv/a:/srv/b")
    assert Settings.load().allowed_file_roots == (Path("/srv/a"), Path("/srv/b"))


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWAVE_CRF", "")
    monkeypatch.setenv("S3_BUCKET", "")
    settings = Settings.load()
    assert (settings.crf, settings.s3_bucket) == (23, None)


def test_every_fault_has_a_line_with_name_value_and_what_is_allowed() -> None:
    assert faults(
        STREAMWAVE_CRF="99", STREAMWAVE_PRESET="warp", STREAMWAVE_SEGMENT_SECONDS="1/0", USE_S3="perhaps"
    ) == [
        "USE_S3 is 'perhaps'; allowed: true or false",
        "STREAMWAVE_SEGMENT_SECONDS is '1/0'; allowed: a number, also as a fraction (1001/500) from 1 to 10 s",
        "STREAMWAVE_PRESET is 'warp'; allowed: one of ultrafast, superfast, veryfast, faster, fast, medium, slow, "
        "slower, veryslow, placebo",
        "STREAMWAVE_CRF is '99'; allowed: an integer from 0 to 51",
    ]  # fmt: skip


def test_what_s3_knows_is_listed() -> None:
    """Also where a setting may be left out."""
    assert faults(STREAMWAVE_S3_SSE="rot13", STREAMWAVE_S3_ACL="all", STREAMWAVE_S3_STORAGE_CLASS="cold") == [
        "STREAMWAVE_S3_SSE is 'rot13'; allowed: one of AES256, aws:kms, aws:kms:dsse",
        "STREAMWAVE_S3_STORAGE_CLASS is 'cold'; allowed: STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, "
        "REDUCED_REDUNDANCY, or another one that the service answers at once from (A-Z and _)",
        "STREAMWAVE_S3_ACL is 'all'; allowed: one of private, public-read, authenticated-read, bucket-owner-full-control",
    ]


def test_a_fault_does_not_drag_derived_defaults_with_it() -> None:
    assert faults(STREAMWAVE_RTMP_PORT="0") == ["STREAMWAVE_RTMP_PORT is '0'; allowed: an integer from 1 to 65535"]


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("STREAMWAVE_ADMIN_TOKEN", "hunter2", "hunter2"),
        ("STREAMWAVE_GRPC_TOKEN", "hunter2", "hunter2"),
        ("RTMP_URL", "http://user:pa55@host/live?key=s3cr3t", "pa55"),
        ("RTMP_URL", "http://user:pa55@host/live?key=s3cr3t", "s3cr3t"),
    ],
)
def test_a_fault_never_shows_a_secret(name: str, value: str, hidden: str) -> None:
    (line,) = faults(**{name: value})
    assert line.startswith(name)
    assert hidden not in line


def test_secrets_do_not_appear_when_settings_are_printed() -> None:
    settings = Settings.load(admin_token="a-long-enough-token", database_url="postgresql://me:pa55@db/x")
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == "a-long-enough-token"
    assert "long-enough" not in repr(settings)
    assert "pa55" not in repr(settings)


def test_s3_without_a_bucket_says_what_to_set() -> None:
    assert faults(USE_S3="true") == [
        "USE_S3 is true but S3_BUCKET is not set: name the bucket to write to, or set USE_S3=false"
    ]


def test_s3_prefix_may_not_climb() -> None:
    assert faults(STREAMWAVE_S3_PREFIX="a/../b") == [
        "STREAMWAVE_S3_PREFIX is 'a/../b': 's3://bucket/a/../b' contains '..'; write the path without it"
    ]
    assert "contains '::'" in faults(STREAMWAVE_S3_PREFIX="a::b")[0]


def test_a_bucket_that_is_not_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BUCKET", "films")
    assert Settings.load().warnings == ("S3_BUCKET is set but not used, because USE_S3 is not true",)
    monkeypatch.setenv("USE_S3", "true")
    assert Settings.load().warnings == ()


def test_keys_in_addresses_are_refused_and_never_shown() -> None:
    for variable, value, says in (
        (
            "OUTPUT_DIR",
            "s3://AKIA:sEcReT@films/tv",
            "'s3://…@films/tv': it contains a user or a password; write s3://BUCKET",
        ),
        ("OUTPUT_DIR", "/srv/out, s3://sEcReT@films", "it contains a user or a password"),
        ("OUTPUT_DIR", "ftp://me:sEcReT@nas/tv", "give it to fsspec in the environment, as FSSPEC_FTP_PASSWORD"),
        ("OUTPUT_DIR", '[{"url": "s3://films", "key": "k", "secret": "sEcReT"}]', "of the list has 'key', 'secret'"),
        (
            "OUTPUT_DIR",
            '[{"url": "s3://films", "endpoint": "http://k:sEcReT@s3"}]',
            "'endpoint' must be an http or https",
        ),
        (
            "STREAMWAVE_SPOOL_DIR",
            "s3://AKIA:sEcReT@films/spool",
            "'s3://…@films/spool': it contains a user or a password",
        ),
        (
            "STREAMWAVE_S3_ENDPOINT",
            "https://k:sEcReT@s3.example.org",
            "an http or https address without user and query",
        ),
        ("STREAMWAVE_S3_ENDPOINT", "https://s3.example.org?token=sEcReT", "an http or https address without user"),
        ("STREAMWAVE_BASE_URLS", "https://u:sEcReT@cdn.example.org/tv", "addresses without user and query"),
        ("STREAMWAVE_BASE_URLS", "https://cdn.example.org/tv?sig=sEcReT", "addresses without user and query"),
    ):
        (fault,) = faults(**{variable: value})
        assert says in fault and "sEcReT" not in fault, (variable, value)
    with pytest.raises(UsageError, match="a user or a password") as caught:
        outputs("s3://AKIA:sEcReT@films/tv")
    assert "sEcReT" not in str(caught.value)


def test_an_output_never_lies_in_the_spool(own_folder: Path) -> None:
    """What is cleaned of the spool would take recordings along."""
    for output, spool in (
        ("s3://films/tv", "s3://films/tv"),
        ("s3://films/tv", "s3://films"),
        ("/srv/out, s3a://films/tv/", "s3://films/tv/"),
        ("/srv/out", "/srv/out/"),
        ("file:///srv/out", "/srv"),
        ("var/spool", "s3://films/spool"),
    ):
        (fault,) = faults(OUTPUT_DIR=output, STREAMWAVE_SPOOL_DIR=spool)
        assert "is inside the spool" in fault, (output, spool)
    fault = faults(USE_S3="true", S3_BUCKET="films", STREAMWAVE_S3_PREFIX="tv", STREAMWAVE_SPOOL_DIR="s3://films/tv")[0]
    assert fault.startswith("the output s3://films/tv is inside the spool s3://films/tv, and would be deleted with it")
    assert Settings.load(output_dir="s3://films/tv", spool_place="s3://films/tv-spool").spool_url
    elsewhere = '[{"url": "s3://films/tv", "endpoint": "https://s3.example.org"}]'
    assert Settings.load(output_dir=elsewhere, spool_place="s3://films/tv").spool_url


def test_misspelt_names_are_reported_with_the_nearest_one(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWAVE_SEGMENT_SECOND", "4")
    (own_folder / ".env").write_text("STREAMWAVE_XYZZY=1\nAWS_PROFILE=x\n")
    assert Settings.load().warnings == (
        "unknown setting STREAMWAVE_SEGMENT_SECOND in the environment: did you mean STREAMWAVE_SEGMENT_SECONDS?",
        "unknown setting STREAMWAVE_XYZZY in .env",
    )


def test_an_env_file_that_is_not_text_is_one_line(own_folder: Path) -> None:
    (own_folder / ".env").write_bytes(b"STREAMWAVE_CRF=\xff\xfe")
    with pytest.raises(SettingsError, match=r"^\.env is not UTF-8 text: save it as UTF-8$"):
        Settings.load()


def test_the_sample_file_holds_every_setting_with_its_default(own_folder: Path) -> None:
    sample = [line.removeprefix("# ") for line in settings_docs.EXAMPLE.read_text().splitlines() if "## " not in line]
    assignments = [line for line in sample if "=" in line]
    assert len(assignments) == len(Settings.model_fields)
    (own_folder / "all.env").write_text("\n".join(assignments))
    assert Settings.load("all.env") == Settings.load(None)
    assert Settings.load("all.env").warnings == ()


def test_generated_pages_are_in_step() -> None:
    assert settings_docs.PAGE.read_text() == settings_docs.settings_page(), "run: make docs"
    assert settings_docs.EXAMPLE.read_text() == settings_docs.env_example(), "run: make docs"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    field = Settings.model_fields[name]
    assert (field.description or "").endswith(".")
    assert variable_name(name, field).isupper()
    assert ("_s" in name[-2:]) <= (extra(field, "unit") == "s")


# --- storage ----------------------------------------------------------------------------------------------------------


def test_everything_about_s3_reaches_its_library() -> None:
    settings = Settings.load(
        use_s3=True, s3_bucket="films", s3_region="eu-west-1", s3_endpoint="https://s3.example.org", s3_path_style=True,
        s3_sse="aws:kms", s3_sse_kms_key="key", s3_storage_class="STANDARD_IA", s3_acl="public-read",
    )  # fmt: skip
    assert settings.store_options(settings.output_url) == {
        "client_kwargs": {"region_name": "eu-west-1", "endpoint_url": "https://s3.example.org"},
        "config_kwargs": {"s3": {"addressing_style": "path"}},
        "s3_additional_kwargs": {
            "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key", "StorageClass": "STANDARD_IA", "ACL": "public-read",
        },
    }  # fmt: skip


def test_several_outputs(own_folder: Path) -> None:
    settings = Settings.load(output_dir="out, s3://films/tv,memory://x")
    assert [target.url for target in settings.outputs] == [str(own_folder / "out"), "s3://films/tv", "memory://x"]
    assert outputs(settings.output_url) == settings.outputs
    assert settings.store_options(settings.output_url) == {"client_kwargs": {}}
    backup = (
        '{"url": "s3://b/tv", "endpoint": "https://s3.example.org", "region": "x", "profile": "p", "path_style": true}'
    )
    settings = Settings.load(output_dir=f'["/srv/a,b", {backup}]', s3_region="eu-west-1")
    assert outputs(settings.output_url) == settings.outputs and settings.outputs[0].url == "/srv/a,b"
    assert settings.outputs[1].options(settings.s3_options) == {
        "client_kwargs": {"region_name": "x", "endpoint_url": "https://s3.example.org"},
        "profile": "p",
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    assert outputs_below("/srv/out", "tv/1") == "/srv/out/tv/1"
    below = outputs(outputs_below(settings.output_url, "tv/1"))
    assert [target.url for target in below] == ["/srv/a,b/tv/1", "s3://b/tv/tv/1"] and below[1].profile == "p"
    assert outputs(outputs_above(outputs_below(settings.output_url, "tv/1"), 2)) == settings.outputs


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("./a,,./b", "an address is empty"),
        ("./a, ./a/", "the same output is listed twice"),
        ("./a, ./b/../a", "the same output is listed twice"),
        ("/srv/out, /srv/out/second", "/srv/out/second is inside /srv/out, and would look like one of its broadcasts"),
        ("s3://b/tv/x, s3://b/tv", "s3://b/tv/x is inside s3://b/tv"),
        ("file:///srv/out, /srv/out", "the same output is listed twice"),
        ("s3a://b/tv, s3://b/tv/", "the same output is listed twice"),
        ("s3:/b/tv", "'s3:/b/tv' is neither an address nor a folder; write s3://b/tv, or ./s3:/b/tv if"),
        ("S3://b/tv", "unknown kind of store 'S3'; did you mean s3://?"),
        ("S4://b/tv", "unknown kind of store 'S4'; for example s3://"),
        ("swift://b/tv", "unknown kind of store 'swift'"),
        ("s3://b/../tv", "'s3://b/../tv' contains '..'; write the path without it"),
        ("[]", "the list of outputs is empty"),
        ('["a", {"uri": "b"}]', "output 2 of the list has 'uri'; allowed: url, endpoint, region, profile, path_style"),
        ('[{"endpoint": "b"}]', "entry 1 of the list of outputs has no 'url'"),
        (
            '[{"url": "s3://b", "path_style": "sometimes"}]',
            "'path_style' of output 1 of the list: input should be a valid",
        ),
        ('["a", 3]', "output 2 of the list is 3; allowed: an address or an object"),
        ("[a", "begins like a JSON list, but cannot be parsed"),
        (
            "./Talk, part 1",
            "'part 1' is neither an address nor begins with / or ./; a folder with a comma in its name is",
        ),
        ("a,b", "'b' is neither an address nor begins with"),
        ("/srv/Talk, 12: the end", "'12: the end' is neither"),
        (
            "~nobody-at-all/x",
            "~nobody-at-all is not the home of a user here; write the full path, or ./~nobody-at-all/x",
        ),
        ("/srv/a, ~nobody-at-all/x", "~nobody-at-all is not the home"),
        ("s3://", "'s3://' names no bucket; write s3://BUCKET or s3://BUCKET/FOLDER"),
        ('["a", {"url": "s3:///tv"}]', "'s3:///tv' names no bucket"),
        (",".join(f"./{one}" for one in "abcdefghi"), "at most 8 addresses"),
        ("s3://b//tv", "'s3://b//tv' has '//' after the bucket; write one '/'"),
        ("s3://b/./tv", "'s3://b/./tv' contains '.'; write the path without it"),
        ("s3://b/t::v", "'s3://b/t::v' contains '::'; choose a folder without it"),
        ("s3://b/tv s3://c/tv", "'s3://b/tv s3://c/tv' contains a second address; separate outputs by commas"),
    ],
)
def test_what_names_no_outputs(text: str, fault: str) -> None:
    assert any(fault in line for line in faults(OUTPUT_DIR=text))


def test_base_addresses() -> None:
    assert Settings.load().base_urls == ()
    assert Settings.load(base_urls="https://a.example/tv, https://b.example").base_urls == (
        BaseUrl("https://a.example/tv/"),
        BaseUrl("https://b.example/"),
    )
    cdn = '[{"url": "https://a.example", "service_location": "a", "priority": 2, "weight": 3}]'
    assert Settings.load(base_urls=cdn).base_urls == (BaseUrl("https://a.example/", "a", 2, 3),)
    for wrong in ("ftp://a", "a", '[{"uri": 1}]', "[1]", "https://a b/", '[{"url": "https://a/", "weight": 0}]'):
        assert any("STREAMWAVE_BASE_URLS" in line for line in faults(STREAMWAVE_BASE_URLS=wrong)), wrong


def test_the_spool_is_a_folder_or_one_place_in_a_store(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("elsewhere", "file://" + str(own_folder / "elsewhere")):
        monkeypatch.setenv("STREAMWAVE_SPOOL_DIR", folder)
        assert (Settings.load().spool_dir, Settings.load().spool_url) == (own_folder / "elsewhere", None)
    monkeypatch.setenv("STREAMWAVE_SPOOL_DIR", "s3://films/spool/")
    monkeypatch.setenv("STREAMWAVE_S3_ACL", "public-read")
    monkeypatch.setenv("STREAMWAVE_S3_STORAGE_CLASS", "GLACIER_IR")
    monkeypatch.setenv("STREAMWAVE_S3_SSE", "AES256")
    settings = Settings.load()
    # What is being received lies on this machine until it is stored; nobody else is to read it.
    assert (settings.spool_dir, settings.spool_url) == (own_folder / "var" / "spool", "s3://films/spool")
    assert settings.spool_options["s3_additional_kwargs"] == {"ServerSideEncryption": "AES256"}
    for wrong in ("s3://", "memory://spool", "s3://a, s3://b", '["s3://a"]'):
        assert any("STREAMWAVE_SPOOL_DIR" in line for line in faults(STREAMWAVE_SPOOL_DIR=wrong)), wrong


def test_pictures_are_passed_through_unless_that_is_forbidden() -> None:
    assert Settings.load().passthrough == "auto"
    assert Settings.load(passthrough="never").passthrough == "never"
    (line,) = faults(STREAMWAVE_PASSTHROUGH="always")
    assert "STREAMWAVE_PASSTHROUGH" in line and "never" in line and "auto" in line


@pytest.mark.parametrize("override", ["crff", "CRF", "STREAMWAVE_CRF", "spool_dir"])
def test_an_override_that_names_no_setting(override: str) -> None:
    with pytest.raises(SettingsError, match=f"there is no setting {override}"):
        Settings.load(env_file=None, **{override: "20"})


@pytest.mark.parametrize("number", [0, -1])
def test_audio_tracks_are_counted_from_one(number: int) -> None:
    with pytest.raises(UsageError, match=f"there is no audio track {number}; they are counted from 1"):
        Settings.load(env_file=None).audio_index(number)
