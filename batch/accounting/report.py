"""Usage records as a table for people, and as JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, Optional

from rich.table import Table
from rich.text import Text

from ..usage import FORMAT, Usage
from .records import ENDED, LOST, RUNNING

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
UNKNOWN = "-"
COMPLETED, FAILED = "completed", "failed"


def usage_table(records: Sequence[Usage], *, tasks: Optional[int] = None, title: str = "") -> Table:
    """A row a task, one a step of it for its ranks, and one of totals.

    ``tasks`` is how many tasks the job has, to tell how many are missing.

    CPU efficiency is CPU time over wall time and over the cores that ``extra["cpus"]`` names, else one.
    """
    table = Table(title=title or None, caption=footer(records, tasks), caption_justify="left")
    for heading, _ in _COLUMNS:
        left = heading in ("task", "state", "host")
        table.add_column(
            heading, justify="left" if left else "right", overflow="fold", no_wrap=heading == "task"
        )
    for group in _by_step(records):
        table.add_row(*(Text(cell(group)) for _, cell in _COLUMNS))
    if records:
        table.rows[-1].end_section = True
        table.add_row(*(Text(text) for text in _totals(records)))
    return table


def usage_json(records: Sequence[Usage], *, tasks: Optional[int] = None) -> str:
    """One JSON object: ``format``, ``totals`` and ``tasks``, a list of records with Usage's fields.

    Each has ``outcome`` besides, what ``udocker-batch status`` calls its state.
    """
    document = {
        "format": FORMAT,
        "totals": {"tasks": tasks, **totals(records)},
        "tasks": [{**asdict(usage), "outcome": outcome(usage)} for usage in records],
    }
    return json.dumps(document, sort_keys=True) + "\n"


def usage_csv(records: Sequence[Usage]) -> str:
    """A line a task under a line of Usage's field names.

    ``command`` and ``extra`` are JSON; ``state`` is what ``udocker-batch status`` calls it.
    """
    out = io.StringIO()
    names = list(Usage.__dataclass_fields__)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for usage in records:
        row = {name: _plain(getattr(usage, name)) for name in names}
        writer.writerow({**row, "state": outcome(usage)}.values())
    return out.getvalue()


def outcome(usage: Usage) -> str:
    """How a record's task ended, in the words of ``udocker-batch status``: its state, if it has not ended."""
    known = usage.extra.get("scheduler_state")
    if usage.state != RUNNING and isinstance(known, str):
        return known
    if usage.state != ENDED or usage.exit_status is None:
        return usage.state
    return FAILED if usage.exit_status else COMPLETED


def totals(records: Sequence[Usage]) -> dict[str, Any]:
    """Sums and maxima over what is known; None where nothing is."""
    states = [usage.state for usage in records]
    return {
        "records": len(records),
        "running": states.count(RUNNING),
        "lost": states.count(LOST),
        "failed": sum(
            1 for usage in records if usage.state == ENDED and outcome(usage) not in (ENDED, COMPLETED)
        ),
        "wall_seconds_max": _over(max, (usage.wall_seconds for usage in records)),
        "wall_seconds_sum": _over(sum, (usage.wall_seconds for usage in records)),
        "user_seconds": _over(sum, (usage.user_seconds for usage in records)),
        "system_seconds": _over(sum, (usage.system_seconds for usage in records)),
        "peak_memory_max": _over(max, (usage.peak_memory for usage in records)),
        "read_bytes": _over(sum, (usage.read_bytes for usage in records)),
        "written_bytes": _over(sum, (usage.written_bytes for usage in records)),
        "cpu_efficiency": efficiency(records),
    }


def footer(records: Sequence[Usage], tasks: Optional[int]) -> str:
    """What the rows above do not tell: how many tasks have no record or no end.  Empty if none."""
    counted = totals(records)
    missing = 0 if tasks is None else max(0, tasks - len({usage.task for usage in records}))
    parts = [
        (missing, "no record yet (not started, or started without accounting)"),
        (counted["running"], "unfinished: running, or ended with its node"),
        (counted["lost"], "lost: the record was left running and its process is dead"),
    ]
    return "\n".join(f"{_tasks(count)} {text}" for count, text in parts if count)


def efficiency(records: Iterable[Usage]) -> Optional[float]:
    """CPU time over the core time that was there for it, as a fraction; None where unknown."""
    used = available = 0.0
    for usage in records:
        if usage.user_seconds is not None and usage.wall_seconds:
            used += usage.user_seconds + (usage.system_seconds or 0.0)
            available += usage.wall_seconds * _cores(usage)
    return used / available if available else None


def human_bytes(value: Optional[float]) -> str:
    """Bytes with three digits and a binary unit: ``1.21 GiB``."""
    if value is None:
        return UNKNOWN
    amount, unit = float(value), 0
    while abs(amount) >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    if unit == 0:
        return f"{amount:.0f} B"
    digits = 2 if abs(amount) < 10 else 1 if abs(amount) < 100 else 0
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def human_seconds(value: Optional[float]) -> str:
    """Seconds below a minute with hundredths, else ``[days-]hours:minutes:seconds``."""
    if value is None:
        return UNKNOWN
    if value < 60:
        return f"{value:.2f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{seconds:02}" if days else f"{hours}:{minutes:02}:{seconds:02}"


def _by_step(records: Sequence[Usage]) -> Iterator[list[Usage]]:
    """What has a row of its own: a task, or the ranks of a step."""
    return (list(group) for _, group in groupby(records, key=lambda usage: (usage.task, usage.step)))


def _name(group: Sequence[Usage]) -> str:
    task = "job" if group[0].task is None else str(group[0].task)
    if group[0].rank is None:
        return task
    return f"{task}.{_printable(group[0].step)} ({len(group)} rank{'s' * (len(group) > 1)})"


def _state(group: Sequence[Usage]) -> str:
    """That of the first that did not end well, with its exit status."""
    worst = next((usage for usage in group if outcome(usage) != COMPLETED), group[0])
    return f"{_printable(outcome(worst))} {worst.exit_status or ''}".strip()


def _host(group: Sequence[Usage]) -> str:
    hosts = {usage.host: None for usage in group}
    first = _printable(next(iter(hosts)))
    return first if len(hosts) == 1 else f"{first} and {len(hosts) - 1} more"


def _percent(fraction: Optional[float]) -> str:
    return UNKNOWN if fraction is None else f"{fraction * 100:.0f} %"


def _printable(text: str) -> str:
    # A record is a file that others may have written; a terminal acts on control characters.
    return "".join(char if char.isprintable() else "?" for char in text)


def _figure(name: str, shown: Callable[[Optional[float]], str]) -> Callable[[Sequence[Usage]], str]:
    """A column of totals, which of a single record are its own figures."""
    return lambda group: shown(totals(group)[name])


_COLUMNS: Sequence[tuple[str, Callable[[Sequence[Usage]], str]]] = (
    ("task", _name),
    ("state", _state),
    ("host", _host),
    ("wall", _figure("wall_seconds_max", human_seconds)),
    ("user", _figure("user_seconds", human_seconds)),
    ("system", _figure("system_seconds", human_seconds)),
    ("CPU", _figure("cpu_efficiency", _percent)),
    ("peak memory", _figure("peak_memory_max", human_bytes)),
    ("read", _figure("read_bytes", human_bytes)),
    ("written", _figure("written_bytes", human_bytes)),
)


def _totals(records: Sequence[Usage]) -> list[str]:
    found = totals(records)
    longest, summed = found["wall_seconds_max"], found["wall_seconds_sum"]
    return [
        "total",
        f"{found['failed']} failed" if found["failed"] else "",
        "",
        f"max {human_seconds(longest)}, sum {human_seconds(summed)}",
        human_seconds(found["user_seconds"]),
        human_seconds(found["system_seconds"]),
        _percent(found["cpu_efficiency"]),
        f"max {human_bytes(found['peak_memory_max'])}",
        human_bytes(found["read_bytes"]),
        human_bytes(found["written_bytes"]),
    ]


def _over(function: Callable[[list[Any]], Any], values: Iterable[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return function(known) if known else None


def _cores(usage: Usage) -> float:
    cores = usage.extra.get("cpus")
    return cores if isinstance(cores, (int, float)) and cores > 0 else 1


def _tasks(count: int) -> str:
    return f"{count} task:" if count == 1 else f"{count} tasks:"


def _plain(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, (tuple, dict)) else value
