"""How we talk to S3: time-outs and retries for every request, and what its errors mean for a person.

Retries are botocore's ("standard" mode: 429, 500, 502, 503, 504, SlowDown, broken connections, time-outs; back-off
with jitter) and, where the body of an answer broke off, s3fs's own around them. Both are bounded: a request to an
endpoint that answers nothing at all gives up after ``ROUNDS`` x (1 + ``RETRIES``) time-outs, two minutes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
#: Tries of botocore after the first, and how often s3fs goes through all of them.
RETRIES = 2
ROUNDS = 2
#: Requests that may be under way at once; more wait for a connection.
CONNECTIONS = 32
#: Parts of a multipart upload would be this large; S3 takes 5 GiB in one PUT, and no segment comes near.
ONE_PUT = 2 * 2**30

_QUICK = {"connect_timeout": 5, "read_timeout": 10, "retries": {"total_max_attempts": 1}}


def connection(options: Mapping[str, Any], *, quick: bool = False) -> dict[str, Any]:
    """Arguments for s3fs: ``options`` with time-outs and retries in ``config_kwargs`` where those have none."""
    config: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": 1 + RETRIES},
        "max_pool_connections": CONNECTIONS,
    }
    endpoint = options.get("client_kwargs", {}).get("endpoint_url")
    if endpoint and "AWS_REQUEST_CHECKSUM_CALCULATION" not in os.environ:
        # Backblaze and others refuse the headers that Amazon has introduced; the body is signed then, which is as good.
        # https://github.com/boto/s3transfer/issues/327
        config["request_checksum_calculation"] = "when_required"
    config |= options.get("config_kwargs", {}) | (_QUICK if quick else {})
    others = {name: value for name, value in options.items() if name != "profile"}
    profile = options.get("profile")
    return {
        "use_listings_cache": False,
        "skip_instance_cache": quick,
        **others,
        "config_kwargs": config,
        "session": _session(profile) if quick else _shared_session(profile),
    }


def _session(profile: str | None) -> Any:
    """A session of aiobotocore that sends a PUT's body at once.

    botocore would ask first whether it may ("Expect: 100-continue") and wait for that answer: a round trip for every
    object. It is of use where bodies are large or cannot be sent again; ours are neither.
    """
    from aiobotocore.session import AioSession  # heavy, and only those on S3 need it
    from botocore.handlers import add_expect_header

    session = AioSession(profile=profile)
    session.unregister("before-call.s3", add_expect_header)
    return session


#: A session keeps the credentials that it found first: by profile, the one that all share, and what was found for it last.
_shared: dict[str | None, Any] = {}
_found: dict[str | None, Any] = {}
_sharing = threading.Lock()


def _shared_session(profile: str | None) -> Any:
    with _sharing:
        if profile not in _shared:
            _shared[profile] = _session(profile)
        return _shared[profile]


def renew_session(profile: str | None) -> Any:
    """The session that all share, after credentials were refused: another one if others are found now.

    Somebody may have mended them, or renewed a token in the file of the profile.
    """
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        credentials = Session(profile=profile).get_credentials()
        found = credentials.get_frozen_credentials() if credentials is not None else None
    except BotoCoreError:
        found = None
    with _sharing:
        if found is not None and found != _found.get(profile):
            _found[profile], _shared[profile] = found, _session(profile)
    return _shared_session(profile)


def options(
    *,
    endpoint: str | None = None,
    region: str | None = None,
    path_style: bool = False,
    sse: str | None = None,
    sse_kms_key: str | None = None,
    storage_class: str | None = None,
    acl: str | None = None,
) -> dict[str, Any]:
    """Arguments for s3fs that say where the service is and how objects are put, as far as they are given."""
    client = {"region_name": region, "endpoint_url": endpoint}
    put = {"ServerSideEncryption": sse, "SSEKMSKeyId": sse_kms_key, "StorageClass": storage_class, "ACL": acl}
    found: dict[str, Any] = {"client_kwargs": {key: value for key, value in client.items() if value}}
    if any(put.values()):
        found["s3_additional_kwargs"] = {key: value for key, value in put.items() if value}
    if path_style:
        found["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    return found


_NO_CREDENTIALS = "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_UNKNOWN_KEY = "the access key is not known there; check AWS_ACCESS_KEY_ID"
_WRONG_KEY = "the secret key is wrong; check AWS_SECRET_ACCESS_KEY"
_EXPIRED = "the credentials have expired; renew them"
_WRONG_TOKEN = "the session token is wrong; check AWS_SESSION_TOKEN"
#: Meanings of errors that go away with other credentials.
OF_CREDENTIALS = frozenset({_NO_CREDENTIALS, _UNKNOWN_KEY, _WRONG_KEY, _EXPIRED, _WRONG_TOKEN})
_NETWORK = "check STREAMWAVE_S3_ENDPOINT and the network"
_BROKE_OFF = f"the connection broke off; {_NETWORK}"
_LATE = f"the endpoint did not answer in time; {_NETWORK}"
_NO_HTTPS = "it does not speak HTTPS; check whether STREAMWAVE_S3_ENDPOINT should begin with http://"
_KEY_DENIED = (
    "access denied to the key of the encryption; the credentials need kms:GenerateDataKey and kms:Decrypt on it"
)
_COLD = "its storage class does not answer at once; restore it, and choose another STREAMWAVE_S3_STORAGE_CLASS"
_MEANINGS = (
    ("NoSuchBucket", "there is no such bucket; check S3_BUCKET, S3_REGION and STREAMWAVE_S3_ENDPOINT"),
    ("bucket does not exist", "there is no such bucket; check S3_BUCKET, S3_REGION and STREAMWAVE_S3_ENDPOINT"),
    ("Unable to locate credentials", _NO_CREDENTIALS),
    ("PartialCredentials", "the credentials are incomplete; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ("ProfileNotFound", "there is no such AWS profile; check the profile's name and ~/.aws/credentials"),
    ("could not be found", "there is no such AWS profile; check the profile's name and ~/.aws/credentials"),
    ("InvalidAccessKeyId", _UNKNOWN_KEY),
    ("Access Key Id you provided does not exist", _UNKNOWN_KEY),
    ("security token included in the request is invalid", _UNKNOWN_KEY),
    ("SignatureDoesNotMatch", _WRONG_KEY),
    ("signature we calculated does not match", _WRONG_KEY),
    ("ExpiredToken", _EXPIRED),
    ("InvalidToken", _WRONG_TOKEN),
    ("RequestTimeTooSkewed", "this machine's clock is wrong; set it, best by NTP"),
    ("kms:", _KEY_DENIED),
    ("KMS.", "the key of the encryption cannot be used; check STREAMWAVE_S3_SSE_KMS_KEY"),
    ("InvalidObjectState", _COLD),
    ("InvalidStorageClass", "the service has no such storage class; check STREAMWAVE_S3_STORAGE_CLASS"),
    (
        "AccessControlListNotSupported",
        "the bucket takes no access lists; unset STREAMWAVE_S3_ACL and use a bucket policy",
    ),
    ("Invalid bucket name", "no bucket can have such a name; check S3_BUCKET or OUTPUT_DIR"),
    ("PermanentRedirect", "the bucket is in another region; check S3_REGION"),
    ("must be addressed using", "the bucket is in another region; check S3_REGION"),
    ("AuthorizationHeaderMalformed", "the bucket is in another region; check S3_REGION"),
    ("Could not connect", f"the endpoint does not answer; {_NETWORK}"),
    ("Connect timeout", _LATE),
    ("Read timeout", _LATE),
    ("Connection was closed", _BROKE_OFF),
    ("ConnectionResetError", _BROKE_OFF),
    ("payload is not completed", _BROKE_OFF),
    ("wrong version number", _NO_HTTPS),
    ("record layer failure", _NO_HTTPS),
    ("connect to proxy", "the proxy does not answer; check HTTPS_PROXY and HTTP_PROXY"),
    ("SSL validation failed", "its certificate is not accepted; check STREAMWAVE_S3_ENDPOINT and its certificate"),
    ("SlowDown", "the service asks for fewer requests"),
    ("TooManyRequests", "the service asks for fewer requests"),
)
_DENIED = (
    "access denied; the credentials need s3:GetObject, s3:PutObject and s3:DeleteObject on the objects "
    "and s3:ListBucket on the bucket"
)


def explain(error: BaseException) -> str | None:
    """What an error of s3fs or botocore means, or None if it says it well enough itself."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    texts = [f"{type(one).__name__}: {one}" for one in chain]
    for mark, meaning in _MEANINGS:
        if any(mark in text for text in texts):
            return meaning
    denied = any(isinstance(one, PermissionError) for one in chain) or any("Forbidden" in text for text in texts)
    return _DENIED if denied else None
