"""The stages of the pipeline as Prefect tasks: names, retries, and one call into the library each."""

from tasks.package import package
from tasks.segment import segment
from tasks.store import store
from tasks.transcode import transcode

__all__ = ["package", "segment", "store", "transcode"]
