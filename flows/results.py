"""Prevents flows from reading stored results, which Prefect's server could point anywhere."""

from __future__ import annotations

from prefect import results
from prefect.filesystems import LocalFileSystem
from prefect.serializers import CompressedSerializer, JSONSerializer, PickleSerializer


def refuse_stored_results() -> None:
    """Make this process refuse to read stored results, because reading one can execute code.

    A state on the server says where its result is stored (any fsspec file system) and how it is serialized (for example as a
    pickle), and every user of the API may set states. Our flows store no results, so nothing is lost.
    """

    def refused(self: object, blob: bytes) -> object:
        raise RuntimeError("stored results are not read")

    for serializer in (PickleSerializer, JSONSerializer, CompressedSerializer):
        serializer.loads = refused  # type: ignore[assignment, method-assign]

    def local(*_: object, **__: object) -> LocalFileSystem:
        return LocalFileSystem()

    async def local_too(*_: object, **__: object) -> LocalFileSystem:
        return LocalFileSystem()

    if not callable(results.resolve_result_storage) or not callable(results.aresolve_result_storage):
        raise RuntimeError("this version of Prefect is not supported; install the pinned one (constraints.txt)")
    results.resolve_result_storage = local
    results.aresolve_result_storage = local_too
