"""Several things at once, each in a thread: the first failure ends them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Callable, Optional, TypeVar

_Item = TypeVar("_Item")
# How long the others may take to notice that they are to stop, in seconds.
_GRACE = 3.0


def work_together(
    items: Iterable[_Item], work: Callable[[_Item], None], workers: int, stop: Callable[[], None]
) -> None:
    """Call ``work`` for every item, in up to ``workers`` threads; raises the first failure.

    After a failure, and when the caller is interrupted (Ctrl-C), ``stop`` is called, which makes what is
    under way fail soon.  A thread that does not is left alone; it ends with the process.
    """
    todo: SimpleQueue[_Item] = SimpleQueue()
    ended: SimpleQueue[Optional[BaseException]] = SimpleQueue()
    count = 0
    for item in items:
        todo.put(item)
        count += 1

    def labour() -> None:
        while True:
            try:
                item = todo.get_nowait()
            except Empty:
                return
            try:
                work(item)
            except BaseException as error:  # noqa: BLE001 - handed over to the caller, whatever it is
                ended.put(error)
                return
            ended.put(None)

    threads = [threading.Thread(target=labour, daemon=True) for _ in range(min(workers, count))]
    try:
        for thread in threads:
            thread.start()
        for _ in range(count):
            failure = ended.get()
            if failure is not None:
                raise failure
    except BaseException:
        _end(todo, threads, stop)
        raise


def _end(todo: SimpleQueue[_Item], threads: list[threading.Thread], stop: Callable[[], None]) -> None:
    while not todo.empty():
        try:
            todo.get_nowait()
        except Empty:
            break  # a thread was faster
    stop()
    until = time.monotonic() + _GRACE
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, until - time.monotonic()))
