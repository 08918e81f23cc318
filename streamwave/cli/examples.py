"""An example of each document of ``--json``, for docs/cli-json.md."""

from __future__ import annotations

from streamwave.cli import shapes

_BROADCAST = shapes.BroadcastShape(
    name="stage/20260405-180000-1a2b", title="Evening show", state="recorded", started_unix_ms=1775412000000,
    ended_unix_ms=1775412060000, duration_ms=60000, on_air_ms=None, renditions=["720p", "audio"], size_bytes=21500000,
    outputs=["/srv/out"],
)  # fmt: skip
_FOLDER = "/srv/out/stage/20260405-180000-1a2b"
_VIDEO = shapes.TrackShape(
    name="720p", kind="video", codecs="avc1.64001f", width_px=1280, height_px=720, frame_rate="30000/1001",
    channels=None, sample_rate_hz=None, segments=30, size_bytes=20500000, average_bps=2733000, peak_bps=2990000,
)  # fmt: skip

EXAMPLES: dict[str, shapes.Shape] = {
    type(one).__name__: one
    for one in (
        shapes.DoctorDocument(
            ok=True,
            checks=[
                shapes.CheckShape(
                    name="port 1936 (RTMP)", status="warn", detail="in use",
                    remedy="unless that is StreamWave itself, stop it or set STREAMWAVE_RTMP_PORT",
                )
            ],
        ),
        shapes.ProbeDocument(
            source="talk.mp4", container="mov,mp4,m4a,3gp,3g2,mj2", duration_ms=60000,
            video=shapes.VideoShape(
                codec="h264", width_px=1280, height_px=720, shown_width_px=1280, shown_height_px=720, sample_aspect="1",
                mirrored=False, rotation_degrees=0, frame_rate="30000/1001", pixel_format="yuv420p", interlaced=False,
                bit_rate_bps=4000000,
            ),
            audio=shapes.AudioShape(codec="aac", channels=2, sample_rate_hz=48000), audio_tracks=1, notes=[],
            renditions=[shapes.PlannedShape(name="720p", kind="video", width_px=1280, height_px=720, max_bps=3000000)],
            advice=[],
        ),
        shapes.TranscodeDocument(
            outputs=[
                shapes.AddressShape(
                    output="/srv/talk", dash="/srv/talk/manifest.mpd", hls="/srv/talk/master.m3u8"
                )
            ],
            incomplete_outputs=[], renditions=["720p", "audio"], elapsed_ms=12500, notes=[],
        ),
        shapes.BroadcastsDocument(broadcasts=[_BROADCAST], faults=[]),
        shapes.ShowDocument(
            broadcast=_BROADCAST,
            locations=[
                shapes.LocationShape(kind="DASH", url=f"{_FOLDER}/manifest.mpd"),
                shapes.LocationShape(kind="HLS", url=f"{_FOLDER}/master.m3u8"),
            ],
            periods=[
                shapes.PeriodShape(
                    name="p0", session="000000", chunks=30, start_ms=0, duration_ms=60000, gap_after_ms=0,
                    tracks=[_VIDEO], filler=[],
                )
            ],
            warnings=[],
        ),
        shapes.VerifyDocument(
            ok=True, decoded=True,
            copies=[
                shapes.CopyShape(
                    output="/srv/out", live=False, findings=[],
                    renditions=[
                        shapes.ReportShape(name="720p", kind="video", samples=1798, segments=30, duration_ms=59993)
                    ],
                )
            ],
            without_copy=[], faults=[],
        ),
        shapes.ExportDocument(files=[shapes.FileShape(path="show.mp4", duration_ms=60000, size_bytes=21400000)]),
        shapes.StreamsDocument(
            streams=[
                shapes.StreamShape(
                    name="stage", title="Main stage", enabled=True, publishing=False, broadcast=None,
                    created_unix_ms=1775411000000,
                )
            ]
        ),
        shapes.KeyDocument(
            name="stage", server="rtmp://127.0.0.1:1936/live", key="the-secret-key",
            watch="http://127.0.0.1:8080/?stream=stage",
        ),
        shapes.CleanDocument(
            dry_run=True,
            items=[
                shapes.CleanedShape(
                    output="/srv/out", what="stage/20260301T180000Z", action="remove", why="older than 30 days",
                    trouble=None,
                )
            ],
            faults=[],
        ),
    )
}  # fmt: skip
