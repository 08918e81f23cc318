"""Results that Prefect's server says are stored somewhere: never read by our flows."""

from __future__ import annotations

from prefect import results
from prefect.filesystems import LocalFileSystem
from prefect.serializers import CompressedSerializer, JSONSerializer, PickleSerializer


def refuse_stored_results() -> None:
    """From here on this process reads none, because reading one can mean to execute what it holds.

    A state at the server says where its result lies (any file system of fsspec) and how it is read (as a pickle, for
    example), and everybody may set states who may write to the API. Our flows store no results, so there is none to be read.
    """

    def refused(self: object, blob: bytes) -> object:
        raise RuntimeError("results that are stored elsewhere are not read")

    for serializer in (PickleSerializer, JSONSerializer, CompressedSerializer):
        serializer.loads = refused  # type: ignore[assignment, method-assign]

    def local(*_: object, **__: object) -> LocalFileSystem:
        return LocalFileSystem()

    async def local_too(*_: object, **__: object) -> LocalFileSystem:
        return LocalFileSystem()

    if not callable(results.resolve_result_storage) or not callable(results.aresolve_result_storage):
        raise RuntimeError("this version of Prefect is not known; install the pinned one (constraints.txt)")
    results.resolve_result_storage = local
    results.aresolve_result_storage = local_too
