"""The stages of the pipeline as Prefect tasks: each has a name, a retry policy, and one call into the library."""

from tasks.package import package
from tasks.segment import segment
from tasks.store import store
from tasks.transcode import transcode

__all__ = ["package", "segment", "store", "transcode"]
