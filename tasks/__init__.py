"""The stages of the pipeline as Prefect tasks: names, retries, and one call into the library each."""

from tasks.package import package
from tasks.segment import segment
from tasks.store import patient_store, store
from tasks.transcode import transcode

__all__ = ["package", "patient_store", "segment", "store", "transcode"]
