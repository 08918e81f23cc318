"""State shared by the tasks of all jobs in one process: shared decodes, open publications, and connections to schedulers."""

from __future__ import annotations

import threading

from streamwave.cluster.cluster import Cluster
from streamwave.ffmpeg.meter import Meter
from streamwave.ffmpeg.shared_decode import SharedDecode
from streamwave.pipeline.job import Job
from streamwave.publish.opening import open_publication
from streamwave.publish.outputs import Outputs
from streamwave.storage.outputs import outputs

#: Minimum interval between manifests of a live broadcast; players do not poll more often.
MANIFEST_INTERVAL_S = 1.0


class Worker:
    """The state of one process that works on jobs. Thread-safe.

    ``shared_decode`` joins the renditions of a chunk that are transcoded here at the same time.
    """

    def __init__(self) -> None:
        self.shared_decode = SharedDecode()
        self._publications: dict[tuple[str, str], Outputs] = {}
        self._clusters: dict[str, Cluster] = {}
        self._meters: dict[str, Meter] = {}
        self._lock = threading.Lock()

    def publication(self, job: Job) -> Outputs:
        """The publication of ``job``, opened from the ledger at the first call in this process."""
        with self._lock:
            key = (job.output, job.token)
            if key not in self._publications:
                self._publications[key] = open_publication(
                    outputs(job.output),
                    job.store_options,
                    manifests=job.manifests,
                    token=job.token,
                    patience_s=job.patience_s,
                    base_urls=job.base_urls,
                    utc_timing_url=job.utc_timing_url,
                    manifest_interval_s=MANIFEST_INTERVAL_S,
                    # A live broadcast is at OUTPUT/STREAM/BROADCAST.
                    levels=2 if job.manifests else 0,
                )
            return self._publications[key]

    def cluster(self, job: Job) -> Cluster | None:
        """The workers that encode for ``job``; None if this machine does."""
        if job.scheduler is None:
            return None
        with self._lock:
            if job.token not in self._clusters:
                self._clusters[job.token] = Cluster(job.scheduler, job.ffmpeg_path, live=job.manifests)
            return self._clusters[job.token]

    def meter(self, job: Job) -> Meter:
        """Where the time of the run's chunks goes."""
        with self._lock:
            if job.token not in self._meters:
                self._meters[job.token] = Meter(len(job.video_renditions))
            return self._meters[job.token]

    def release(self, job: Job) -> None:
        """Close the publication of a job that has ended, and its connection to a scheduler."""
        with self._lock:
            found = self._publications.pop((job.output, job.token), None)
            cluster = self._clusters.pop(job.token, None)
            self._meters.pop(job.token, None)
        if cluster is not None:
            cluster.close()
        if found is not None:
            found.close()


#: The worker of this process. It is global because tasks run in threads of this process and get nothing but a job.
worker = Worker()
