"""The settings of outputs: where broadcasts are written, how, and at which addresses viewers find them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from streamwave.config.fields import setting, to_absolute, to_base_urls
from streamwave.storage import s3
from streamwave.storage.address import ENDPOINT, check_address, shown_address
from streamwave.storage.location import BaseUrl
from streamwave.storage.outputs import OutputAddress, format_outputs, outputs, parse_outputs


class OutputSettings(BaseSettings):
    """Part of ``Settings``."""

    output_dir: str = setting(
        "Output",
        "Where broadcasts are written: a folder, or any address that fsspec supports (`s3://bucket/prefix`). Several "
        "outputs, separated by commas or as a JSON list, are all written to, each at its own pace (docs/outputs.md). Not "
        "used if `USE_S3` is true.",
        "./out",
        name="OUTPUT_DIR",
        min_length=1,
        kind="folders or fsspec addresses",
    )
    use_s3: bool = setting(
        "Output", "Write to `s3://S3_BUCKET/STREAMWAVE_S3_PREFIX` instead of `OUTPUT_DIR`.", False, name="USE_S3"
    )
    s3_bucket: str | None = setting(
        "Output",
        "Bucket to write to; required if `USE_S3` is true. Credentials are found the AWS way: the environment of the "
        "process (not `.env`), a profile, or the machine's role.",
        name="S3_BUCKET",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        kind="a bucket name: 3 to 63 of `a-z`, `0-9`, `.` and `-`",
    )
    s3_region: str | None = setting(
        "Output",
        "Region of the bucket. If not set, the AWS profile's region is used.",
        name="S3_REGION",
        pattern=r"^[a-z0-9-]+$",
        kind="a region name",
    )
    s3_prefix: str = setting("Output", "Folder inside the bucket. Empty: its root.", "", kind="a path without `..`")
    s3_endpoint: str | None = setting(
        "Output",
        "Address of an S3 service other than Amazon's, for example MinIO.",
        pattern=ENDPOINT,
        kind="an http or https address without user and query",
    )
    s3_path_style: bool = setting(
        "Output",
        "Put the bucket name into the path instead of the host name, as many other S3 services require.",
        False,
    )
    s3_sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = setting(
        "Output", "Server-side encryption of objects. If not set, the bucket's own rule applies."
    )
    s3_sse_kms_key: str | None = setting(
        "Output",
        "Key for `aws:kms`. If not set, the account's default key is used.",
        min_length=1,
        kind="a key id or ARN",
    )
    s3_storage_class: str | None = setting(
        "Output",
        "Storage class of objects, for example `STANDARD_IA`. If not set, the bucket's own rule applies.",
        pattern=r"^[A-Z_]+$",
        kind="`STANDARD`, `STANDARD_IA`, `ONEZONE_IA`, `INTELLIGENT_TIERING`, `GLACIER_IR`, `REDUCED_REDUNDANCY`, "
        "or another one that the service answers at once from (`A-Z` and `_`)",
    )
    s3_acl: Literal["private", "public-read", "authenticated-read", "bucket-owner-full-control"] | None = setting(
        "Output", "ACL of objects. If not set, the bucket's own rule applies."
    )
    output_patience_s: int = setting(
        "Output",
        "How long a live stream waits for an output that fails (an outage, a full disk) before its run fails. Meanwhile "
        "chunks wait in the spool.",
        3600,
        unit="s",
        ge=0,
        le=604_800,
    )
    base_urls: Annotated[tuple[BaseUrl, ...], NoDecode, BeforeValidator(to_base_urls)] = setting(
        "Output",
        "Addresses at which viewers find the root of the output, for example one per CDN: separated by commas, or a JSON "
        'list of `{"url", "service_location", "priority", "weight"}`. They are written to the manifests as BaseURL and '
        "as redundant variants. Empty: players use the address from which they loaded the manifest.",
        (),
        kind="http or https addresses without user and query",
    )

    @model_validator(mode="after")
    def _s3_is_complete(self) -> Self:
        if self.use_s3 and not self.s3_bucket:
            raise ValueError(
                "USE_S3 is true but S3_BUCKET is not set: name the bucket to write to, or set USE_S3=false"
            )
        try:
            parse_outputs(self.output_dir)
        except ValueError as error:
            raise ValueError(f"OUTPUT_DIR is {shown_address(self.output_dir)!r}: {error}") from None
        if self.s3_sse_kms_key and self.s3_sse not in ("aws:kms", "aws:kms:dsse"):
            raise ValueError("STREAMWAVE_S3_SSE_KMS_KEY is set but not used: set STREAMWAVE_S3_SSE=aws:kms")
        try:
            check_address(f"s3://{self.s3_bucket or 'bucket'}/{self.s3_prefix.strip('/')}")
        except ValueError as error:
            raise ValueError(f"STREAMWAVE_S3_PREFIX is {self.s3_prefix!r}: {error}") from None
        return self

    @property
    def outputs(self) -> tuple[OutputAddress, ...]:
        """The outputs that broadcasts are written to: absolute folders, or addresses for fsspec."""
        if self.use_s3:
            return (OutputAddress(url=f"s3://{self.s3_bucket}/{self.s3_prefix.strip('/')}".rstrip("/")),)
        return tuple(
            target.model_copy(update={"url": str(to_absolute(target.url))}) if target.is_local else target
            for target in parse_outputs(self.output_dir)
        )

    @property
    def output_url(self) -> str:
        """All outputs in one string (see ``storage.outputs``): the plain address if there is only one."""
        return format_outputs(self.outputs)

    def base_urls_of(self, path: str) -> tuple[BaseUrl, ...]:
        """The base URLs of the broadcast at ``path`` in the output."""
        return tuple(replace(base, url=f"{base.url}{path}/") for base in self.base_urls)

    @property
    def s3_options(self) -> dict[str, Any]:
        """Arguments for s3fs from the settings; those that are not set are left out."""
        return s3.options(
            endpoint=self.s3_endpoint, region=self.s3_region, path_style=self.s3_path_style, sse=self.s3_sse,
            sse_kms_key=self.s3_sse_kms_key, storage_class=self.s3_storage_class, acl=self.s3_acl,
        )  # fmt: skip

    @property
    def spool_options(self) -> dict[str, Any]:
        """The same for a spool in a store, without the ACL (viewers never read it) and the storage class (it is
        short-lived).
        """
        return s3.options(
            endpoint=self.s3_endpoint, region=self.s3_region, path_style=self.s3_path_style, sse=self.s3_sse,
            sse_kms_key=self.s3_sse_kms_key,
        )  # fmt: skip

    def store_options(self, url: str) -> dict[str, Any]:
        """Arguments for the store or stores at ``url``: ``s3_options`` if one of them is S3, else none."""
        return self.s3_options if any(target.is_s3 for target in outputs(url)) else {}
