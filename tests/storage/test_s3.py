"""What only S3 has: headers of objects, and refusals that a person has to understand before a stream begins."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from streamwave.broadcasts import index
from streamwave.broadcasts.catalog import Output, list_broadcasts
from streamwave.errors import OutputError, SpoolError
from streamwave.publish import fence
from streamwave.publish.publication import Publication
from streamwave.spool.remote.objects import check_spool
from streamwave.storage.s3 import explain
from streamwave.storage.store import CHANGING, IMMUTABLE, open_store
from tests.support.broadcast import HEADER, LADDER, chunk
from tests.support.faults import Fault, Weather, proxy
from tests.support.ports import free_port
from tests.support.s3 import KEYS, S3, s3_server


def test_types_caching_and_what_the_settings_ask_for(s3: S3) -> None:
    options: dict[str, Any] = s3.options | {
        "s3_additional_kwargs": {
            "ServerSideEncryption": "AES256", "StorageClass": "STANDARD_IA", "ACL": "public-read",
        }
    }  # fmt: skip
    store = open_store(f"{s3.bucket('headers')}/live", options)
    store.put("p0/a/1.m4s", b"x")
    store.put("manifest.mpd", b"x")
    store.put("master.m3u8", b"x")
    client = s3.client()
    heads = {name: client.head_object(Bucket="headers", Key=f"live/{name}") for name in store.names()}
    assert {name: (head["ContentType"], head["CacheControl"]) for name, head in heads.items()} == {
        "p0/a/1.m4s": ("video/mp4", IMMUTABLE),
        "manifest.mpd": ("application/dash+xml", CHANGING),
        "master.m3u8": ("application/vnd.apple.mpegurl", CHANGING),
    }
    for name, head in heads.items():
        assert (head["ServerSideEncryption"], head["StorageClass"]) == ("AES256", "STANDARD_IA")
        grants = client.get_object_acl(Bucket="headers", Key=f"live/{name}")["Grants"]
        assert any(g["Grantee"].get("URI", "").endswith("AllUsers") and g["Permission"] == "READ" for g in grants)


def test_a_chunk_takes_three_round_trips(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests that wait for each other: segments and fence, manifests, ledger. And none that asks first."""
    # A busy machine takes its time to send what belongs together; that is no round trip, nor does the fence get old by it.
    monkeypatch.setattr(fence, "FRESH_S", 60.0)
    weather = Weather(latency_s=1.0, gathers=True)
    with proxy(s3.endpoint, weather) as through:
        store = open_store(f"{s3.bucket('trips')}/{uuid.uuid4().hex}", s3.through(through))
        publication = Publication(store, manifests=True, token="t")
        publication.begin(HEADER)
        trips = []
        for number in range(3):
            weather.spans.clear()
            publication.publish(chunk(tmp_path, number, renditions=LADDER), "file", "p0")
            trips.append((weather.round_trips(), len(weather.spans)))
        publication.close()
    # At first the playlists come before what names them.
    assert trips == [(4, 19), (3, 14), (3, 14)]
    assert weather.met["asked first"] == 0


def test_no_such_bucket(s3: S3) -> None:
    """Nowhere does it pass for an empty one, nor what was not removed for removed."""
    store = open_store("s3://nowhere/x", s3.options, quick=True)
    for action in (
        store.check,
        store.names,
        lambda: store.get("a.mpd"),
        lambda: store.exists("a.mpd"),
        lambda: store.put("a.mpd", b""),
        lambda: store.delete("a.mpd"),
        lambda: store.list_matching("*/*/broadcast.json"),
        lambda: store.list_matching("ledger/*"),
    ):
        with pytest.raises(
            OutputError, match=r"s3://nowhere/x cannot be \w+ .there is no such bucket; check S3_BUCKET"
        ):
            action()


def test_a_listing_that_fails_is_no_empty_one(s3: S3) -> None:
    weather = Weather(faults=("503", "reset"), share=1.0)
    with proxy(s3.endpoint, weather) as through:
        store = open_store(f"{s3.bucket('listing')}/x", s3.through(through), quick=True)
        for action in (store.names, lambda: store.list_matching("*/*/broadcast.json"), lambda: store.exists("a")):
            with pytest.raises(OutputError, match="s3://listing/x cannot be read"):
                action()


def test_nobody_listens() -> None:
    options = S3(f"http://127.0.0.1:{free_port()}").options
    with pytest.raises(OutputError, match="the endpoint does not answer; check STREAMWAVE_S3_ENDPOINT"):
        open_store("s3://films", options, quick=True).check()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("reset", "the connection was lost; check STREAMWAVE_S3_ENDPOINT and the network"),
        ("time-out", "the endpoint did not answer in time; check STREAMWAVE_S3_ENDPOINT and the network"),
        ("truncated", "the connection was lost; check STREAMWAVE_S3_ENDPOINT and the network"),
        ("500", "We encountered an internal error"),  # the service's own words
        ("503", "the service is throttling requests"),
        ("429", "the service is throttling requests"),
    ],
)
def test_what_networks_and_services_do_is_said_in_our_words(s3: S3, fault: Fault, says: str) -> None:
    weather = Weather(faults=(fault,))
    patience_s = 1 if fault == "time-out" else 60
    config: dict[str, Any] = {"read_timeout": patience_s, "retries": {"total_max_attempts": 1}}
    with proxy(s3.endpoint, weather) as through:
        open_store(s3.bucket("weather"), s3.options).put("a.m4s", b"x" * 1000)
        store = open_store(s3.bucket("weather"), s3.through(through, **config))
        weather.share = 1.0
        # The answer to a put has no body that could be cut off.
        asks: list[Callable[[], object]] = [lambda: store.get("a.m4s"), store.entries]
        if fault != "truncated":
            asks.append(lambda: store.put("b.m4s", b"x"))
        for ask in asks:
            with pytest.raises(OutputError) as caught:
                ask()
            assert says in str(caught.value) and "127.0.0.1" not in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("code", "text", "says"),
    [
        (
            "RequestTimeTooSkewed",
            "The difference is too large.",
            "this machine's clock is wrong; set it, preferably by NTP",
        ),
        ("ExpiredToken", "The provided token has expired.", "the credentials have expired; renew them"),
        ("InvalidToken", "The provided token is malformed.", "the session token is wrong; check AWS_SESSION_TOKEN"),
        (
            "AccessDenied",
            "not authorized to perform: kms:GenerateDataKey",
            "access denied to the encryption key",
        ),
        ("KMS.NotFoundException", "Invalid keyId", "cannot be used; check STREAMWAVE_S3_SSE_KMS_KEY"),
        (
            "InvalidObjectState",
            "not valid for the object's storage class",
            "its storage class does not allow immediate reads",
        ),
        ("InvalidStorageClass", "not valid", "no such storage class; check STREAMWAVE_S3_STORAGE_CLASS"),
        ("AccessControlListNotSupported", "The bucket does not allow ACLs", "unset STREAMWAVE_S3_ACL"),
        ("AccessDenied", "Access Denied", "the credentials need s3:GetObject, s3:PutObject and s3:DeleteObject"),
    ],
)
def test_what_the_service_refuses_is_not_taken_for_missing_rights(code: str, text: str, says: str) -> None:
    answer: Any = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    assert says in (explain(translate_boto_error(ClientError(answer, "PutObject"))) or "")


def test_https_where_only_http_is_spoken(s3: S3) -> None:
    options = s3.through(s3.endpoint.replace("http://", "https://"))
    with pytest.raises(OutputError, match="does not speak HTTPS; check whether STREAMWAVE_S3_ENDPOINT should begin"):
        open_store(s3.bucket("plain"), options, quick=True).check()


class _Strict(http.server.BaseHTTPRequestHandler):
    """A service that refuses headers which it does not know, as Backblaze B2 does."""

    def do_PUT(self) -> None:
        """Take any object whose body is signed."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        unknown = [
            name for name in self.headers if name.lower().startswith(("x-amz-checksum", "x-amz-sdk-", "x-amz-tr"))
        ]
        signed = self.headers["X-Amz-Content-SHA256"] == hashlib.sha256(body).hexdigest()
        self.send_response(400 if unknown or not signed else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


def test_services_that_know_nothing_of_amazons_checksums_take_objects() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Strict) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            options = S3(f"http://127.0.0.1:{server.server_port}").options
            open_store("s3://films/x", options, quick=True).put("a.m4s", b"x" * 1000)
        finally:
            server.shutdown()
            thread.join(60)


def test_hundreds_of_recordings_are_listed_in_a_few_round_trips(s3: S3, tmp_path: Path) -> None:
    """The list is written whenever a broadcast begins or ends, while viewers of live ones wait for nothing."""
    url, weather, count = f"{s3.bucket('many')}/{uuid.uuid4().hex}", Weather(latency_s=0.4, gathers=True), 64
    keys = ("stream", "id", "title", "state", "started_unix_ms", "duration_ms", "ended_unix_ms", "size_bytes")
    entry: dict[str, Any] = dict(zip(keys, ("a", "b", "", "ended", 1, 2, 3, 4), strict=True)) | {"renditions": ["x"]}
    for number in range(count):
        open_store(f"{url}/stage/{number}", s3.options).put("broadcast.json", json.dumps(entry).encode())
    with proxy(s3.endpoint, weather) as through:
        output = Output(url, s3.through(through), tmp_path)
        root = output.store()
        index.rebuild(root)
        assert len(json.loads(root.get("broadcasts.json") or b"")["broadcasts"]) == count
        assert weather.round_trips() < 30
        weather.spans.clear()
        assert len(list_broadcasts(output, 0)) == count
        assert weather.round_trips() < 30


@pytest.fixture
def credentials_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that credentials could come from; there is no such file yet."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path / "credentials"


@pytest.mark.usefixtures("credentials_file")
def test_no_credentials(s3: S3) -> None:
    options = {name: value for name, value in s3.options.items() if name not in ("key", "secret")}
    with pytest.raises(OutputError, match="no credentials were found; set AWS_ACCESS_KEY_ID"):
        open_store(f"{s3.bucket('nobody')}/x", options, quick=True).check()


def test_a_check_finds_credentials_that_were_mended(s3: S3, credentials_file: Path) -> None:
    """The services go on; who has mended the credentials need not start them anew."""
    options = {name: value for name, value in s3.options.items() if name not in ("key", "secret")}
    address = f"{s3.bucket('mended')}/x"
    with pytest.raises(OutputError, match="no credentials were found"):
        open_store(address, options, quick=True).check()
    lines = ["[default]", f"aws_access_key_id = {KEYS['key']}", f"aws_secret_access_key = {KEYS['secret']}"]
    credentials_file.write_text("\n".join(lines))
    open_store(address, options, quick=True).check()
    credentials_file.unlink()
    with pytest.raises(OutputError, match="no credentials were found"):
        open_store(address, options, quick=True).check()


def test_a_store_goes_on_with_credentials_that_were_renewed(credentials_file: Path) -> None:
    """Tokens that somebody renews in the file of the profile, as long as a stream runs."""

    def write(keys: dict[str, str]) -> None:
        credentials_file.write_text(
            f"[default]\naws_access_key_id = {keys['AccessKeyId']}\naws_secret_access_key = {keys['SecretAccessKey']}\n"
        )

    with s3_server() as s3:
        s3.bucket("films")
        iam = s3.client("iam")
        iam.create_user(UserName="owner")
        allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName="owner", PolicyName="p", PolicyDocument=json.dumps(allowed))
        first, second = (iam.create_access_key(UserName="owner")["AccessKey"] for _ in range(2))
        write(first)
        options = {name: value for name, value in s3.options.items() if name not in ("key", "secret")}
        stores = [open_store(f"s3://films/{name}", options) for name in "ab"]
        for store in stores:
            store.put("x", b"1")
        iam.delete_access_key(UserName="owner", AccessKeyId=first["AccessKeyId"])
        s3.enforce_rights(0)
        for _ in range(2):
            for store in stores:
                with pytest.raises(OutputError, match="the service does not know the access key"):
                    store.put("x", b"2")
        write(second)
        for store in stores:
            with pytest.raises(OutputError, match="the service does not know the access key"):
                store.put("x", b"3")
            store.put("x", b"4")
            assert store.get("x") == b"4"
        assert open_store("s3://films/c", options).get("x") is None


def test_wrong_credentials_and_missing_rights() -> None:
    allowed = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": "*"}
    with s3_server() as s3:
        s3.bucket("films")
        iam = s3.client("iam")
        keys: dict[str, dict[str, str]] = {}
        for user, statements in {"guest": [], "half": [allowed], "owner": [{**allowed, "Action": "s3:*"}]}.items():
            iam.create_user(UserName=user)
            if statements:
                policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
                iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
            made = iam.create_access_key(UserName=user)["AccessKey"]
            keys[user] = {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
        s3.enforce_rights(0)

        def check(**credentials: str) -> None:
            open_store("s3://films/x", s3.options | credentials, quick=True).check()

        check(**keys["owner"])
        with pytest.raises(OutputError, match="the service does not know the access key; check AWS_ACCESS_KEY_ID"):
            check(key="AKIAUNKNOWN", secret="x")
        with pytest.raises(OutputError, match="the secret key is wrong; check AWS_SECRET_ACCESS_KEY"):
            check(key=keys["owner"]["key"], secret="wrong")
        for user in ("guest", "half"):
            with pytest.raises(OutputError, match="access denied; the credentials need s3:GetObject, s3:PutObject"):
                check(**keys[user])
        with pytest.raises(SpoolError, match="the spool s3://films/x cannot be .*access denied; the credentials need"):
            check_spool("s3://films/x", s3.options | keys["half"])
