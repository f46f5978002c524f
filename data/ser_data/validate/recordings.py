"""Can every recording be had as sound? By their headers, or with every sample decoded; the reasons are extraction's."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ser_data.media.audio import LIMITS, SPAN_TOLERANCE, AudioError, AudioInfo, quiet, span_of
from ser_data.media.isolated import IsolatedDecoder
from ser_data.validate.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

Tell = Callable[[int, int], None]
_FIXES = {
    "missing": "copy the file again from the archive",
    "empty": "record or copy the file again, or leave the row out",
    "unreadable": "convert the file, or leave the row out",
    "truncated": "copy the file again; or take what is there: ser-extract --on-truncated keep",
    "too_short": "leave the row out",
    "too_long": "cut the file, or give spans in start and end",
    "silent": "record the file again, or leave the row out; where channels cancel: ser-extract --channel left",
    "span": "correct start and end",
    "nan": "write the file again from its source",
}


def recordings(table: "pd.DataFrame", decode: bool, tell: Tell) -> Iterator[Finding]:
    """Findings about the sound of every row that has a path.

    Args:
        table: Of a manifest.
        decode: Decode every sample, as extraction will; else only headers are read.
        tell: Called with the rows done and all of them.
    """
    known: dict[str, AudioInfo | AudioError] = {}
    unknown: dict[str, str] = {}
    rows = table[table["path"].notna()]
    columns = (rows[name] for name in ("id", "path", "start", "end"))
    with IsolatedDecoder() as decoder:
        for number, (name, path, start, end) in enumerate(zip(*columns, strict=True), 1):
            try:
                if path not in known:
                    known[path] = _probed(decoder, path)
                info = known[path]
                if isinstance(info, AudioError):
                    raise info
                _check_header(path, info, *span_of(start, end))
                if decode and (why := quiet(decoder.decode(path, start, end)[0])):
                    yield Finding(
                        "note", "quiet", str(path), why, "listen to it; leave the row out if nobody speaks", str(name)
                    )
                if info.unknown and span_of(start, end)[1] is None:
                    unknown[name] = info.unknown
            except AudioError as error:
                what = str(error).removeprefix(f"{error.path}: ")
                yield Finding("error", error.reason, str(path), what, _FIXES.get(error.reason, ""), str(name))
            tell(number, len(rows))
    if unknown:
        why = "; ".join(f"{reason}: {count:,}" for reason, count in Counter(unknown.values()).most_common())
        what = f"nothing tells whether {len(unknown):,} recordings are whole, as {next(iter(unknown))} ({why})"
        yield Finding("note", "length unknown", "", what, "nothing, if they are whole; flac and wav say their length")


def _probed(decoder: IsolatedDecoder, path: str) -> AudioInfo | AudioError:
    try:
        return decoder.probe(path)
    except AudioError as error:
        return error


def _check_header(path: str, info: AudioInfo, start: float, end: float | None) -> None:
    """Raises what extraction will, as far as the header tells."""
    if info.missing and end is None:
        raise AudioError(path, "truncated", info.missing)
    if not info.frames and not info.unknown:
        raise AudioError(path, "empty")
    if info.unknown:
        return
    last = info.duration if end is None else end
    if start >= info.duration > 0 or last > info.duration + SPAN_TOLERANCE:
        raise AudioError(path, "span", f"{start:.2f} to {last:.2f} s, the file has {info.duration:.2f} s")
    if last - start < LIMITS.shortest:
        told = f"{(last - start) * 1000:.1f} ms, at least {LIMITS.shortest * 1000:g} ms"
        raise AudioError(path, "too_short", told)
    if last - start > LIMITS.longest:
        raise AudioError(path, "too_long", f"{last - start:,.1f} s, at most {LIMITS.longest:,.0f} s")
