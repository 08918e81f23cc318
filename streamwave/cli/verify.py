"""``streamwave broadcasts verify``: check one copy of a broadcast and report what was found."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress

from streamwave.broadcasts.catalog import Output
from streamwave.cli.shapes import CopyShape, ReportShape
from streamwave.cli.units import length_text
from streamwave.timing import round_half_up


def verify_copy(where: Output, path: str, *, decode: bool, bar: Progress) -> CopyShape:
    """Check the copy of a broadcast that one output has, and return the findings."""
    from streamwave.broadcasts.check import check_entry
    from streamwave.verify import verify_broadcast

    with bar as progress:
        task, store = progress.add_task("segments", total=None), where.store(path)

        def show_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        verdict = verify_broadcast(store, decode=decode, progress=show_progress)
        if verdict.live_born and path.count("/") == 1:  # only live broadcasts have an entry in an index
            verdict.findings += check_entry(where.store(), store, path, live=verdict.live)
    reports = [
        ReportShape.model_validate({
            "name": one.name, "kind": one.kind, "samples": one.samples, "segments": one.segments,
            "duration_ms": round_half_up(one.seconds * 1000),
        })
        for one in verdict.renditions.values()
    ]  # fmt: skip
    return CopyShape(output=where.url, live=verdict.live, findings=verdict.findings, renditions=reports)


def print_copy(copy: CopyShape, out: Console, *, decode: bool) -> None:
    """Print the findings for one copy."""
    for finding in copy.findings:
        out.print(finding, markup=False)
    for report in copy.renditions:
        what = "frames" if report.kind == "video" else "AAC frames"
        length = length_text(report.duration_ms)
        out.print(f"{report.name}: {report.samples} {what} in {report.segments} segments, {length}", markup=False)
    if copy.findings:
        count = len(copy.findings)
        out.print(f"[red]{count} finding{'s' if count > 1 else ''}[/red]")
        return
    checked = "exist, are contiguous and decode" if decode else "exist and are contiguous"
    out.print(f"[green]all segments {checked}[/green]{' (live: up to now)' if copy.live else ''}")
