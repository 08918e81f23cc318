"""Access to S3: timeouts and retries of every request, and the meaning of errors for the user.

botocore retries ("standard" mode: 429, 500, 502, 503, 504, SlowDown, broken connections and timeouts, with jittered
back-off), and s3fs retries around it if the body of a response breaks off. Both are bounded: if an endpoint does not answer at
all, a request fails after ``ROUNDS`` x (1 + ``RETRIES``) timeouts, two minutes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
#: botocore's retries, and how often s3fs repeats the whole sequence.
RETRIES = 2
ROUNDS = 2
#: Concurrent requests; further ones wait for a free connection.
CONNECTIONS = 32
#: Part size of multipart uploads, chosen so that none happens: S3 accepts 5 GiB in one PUT, and no segment is that large.
ONE_PUT = 2 * 2**30

_QUICK = {"connect_timeout": 5, "read_timeout": 10, "retries": {"total_max_attempts": 1}}


def connection(options: Mapping[str, Any], *, quick: bool = False) -> dict[str, Any]:
    """Arguments for s3fs: ``options`` plus default timeouts and retries in ``config_kwargs``."""
    config: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": 1 + RETRIES},
        "max_pool_connections": CONNECTIONS,
    }
    endpoint = options.get("client_kwargs", {}).get("endpoint_url")
    if endpoint and "AWS_REQUEST_CHECKSUM_CALCULATION" not in os.environ:
        # Backblaze and others reject Amazon's new checksum headers; without them the body is signed, which is as good.
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
    """An aiobotocore session that sends the body of a PUT immediately.

    By default, botocore sends "Expect: 100-continue" and waits for permission: one more round trip per object. That helps
    with bodies that are large or cannot be sent again; ours are neither.
    """
    from aiobotocore.session import AioSession  # a slow import that only S3 needs
    from botocore.handlers import add_expect_header

    session = AioSession(profile=profile)
    session.unregister("before-call.s3", add_expect_header)
    return session


#: A session keeps the credentials that it found first. By profile: the shared session, and the newest credentials found.
_shared: dict[str | None, Any] = {}
_found: dict[str | None, Any] = {}
_sharing = threading.Lock()


def _shared_session(profile: str | None) -> Any:
    with _sharing:
        if profile not in _shared:
            _shared[profile] = _session(profile)
        return _shared[profile]


def renew_session(profile: str | None) -> Any:
    """The shared session, replaced if different credentials can be found now. Call this after credentials were refused.

    The user may have corrected them, or a tool may have renewed a token in the profile's file.
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
    """Arguments for s3fs from these settings: where the service is, and how objects are written."""
    client = {"region_name": region, "endpoint_url": endpoint}
    put = {"ServerSideEncryption": sse, "SSEKMSKeyId": sse_kms_key, "StorageClass": storage_class, "ACL": acl}
    found: dict[str, Any] = {"client_kwargs": {key: value for key, value in client.items() if value}}
    if any(put.values()):
        found["s3_additional_kwargs"] = {key: value for key, value in put.items() if value}
    if path_style:
        found["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    return found


_NO_CREDENTIALS = "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_UNKNOWN_KEY = "the service does not know the access key; check AWS_ACCESS_KEY_ID"
_WRONG_KEY = "the secret key is wrong; check AWS_SECRET_ACCESS_KEY"
_EXPIRED = "the credentials have expired; renew them"
_WRONG_TOKEN = "the session token is wrong; check AWS_SESSION_TOKEN"
#: Errors that new credentials can fix.
OF_CREDENTIALS = frozenset({_NO_CREDENTIALS, _UNKNOWN_KEY, _WRONG_KEY, _EXPIRED, _WRONG_TOKEN})
_NETWORK = "check STREAMWAVE_S3_ENDPOINT and the network"
_BROKE_OFF = f"the connection was lost; {_NETWORK}"
_LATE = f"the endpoint did not answer in time; {_NETWORK}"
_NO_HTTPS = "the endpoint does not speak HTTPS; check whether STREAMWAVE_S3_ENDPOINT should begin with http://"
_KEY_DENIED = "access denied to the encryption key; the credentials need kms:GenerateDataKey and kms:Decrypt on it"
_COLD = "its storage class does not allow immediate reads; restore it, and choose another STREAMWAVE_S3_STORAGE_CLASS"
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
    ("RequestTimeTooSkewed", "this machine's clock is wrong; set it, preferably by NTP"),
    ("kms:", _KEY_DENIED),
    ("KMS.", "the encryption key cannot be used; check STREAMWAVE_S3_SSE_KMS_KEY"),
    ("InvalidObjectState", _COLD),
    ("InvalidStorageClass", "the service has no such storage class; check STREAMWAVE_S3_STORAGE_CLASS"),
    (
        "AccessControlListNotSupported",
        "the bucket does not accept ACLs; unset STREAMWAVE_S3_ACL and use a bucket policy",
    ),
    ("Invalid bucket name", "the bucket name is invalid; check S3_BUCKET or OUTPUT_DIR"),
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
    ("SSL validation failed", "its certificate is not trusted; check STREAMWAVE_S3_ENDPOINT and its certificate"),
    ("SlowDown", "the service is throttling requests"),
    ("TooManyRequests", "the service is throttling requests"),
)
_DENIED = (
    "access denied; the credentials need s3:GetObject, s3:PutObject and s3:DeleteObject on the objects "
    "and s3:ListBucket on the bucket"
)


def explain(error: BaseException) -> str | None:
    """What an error of s3fs or botocore means, or None if its own message is clear enough."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    texts = [f"{type(one).__name__}: {one}" for one in chain]
    for mark, meaning in _MEANINGS:
        if any(mark in text for text in texts):
            return meaning
    denied = any(isinstance(one, PermissionError) for one in chain) or any("Forbidden" in text for text in texts)
    return _DENIED if denied else None
