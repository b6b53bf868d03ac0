"""Runs that this process waits for: written down before they start, and settled when they end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from udocker.engine.base import Launch
from udocker.errors import NotFoundError, StoreError
from udocker.log import Log
from udocker.model.container import Container
from udocker.model.runrecord import EXEC, RUN, RunRecord
from udocker.run.notes import noted
from udocker.store.runs import KeptRun
from udocker.store.store import Store
from udocker.system.process import ProcessIdentity
from udocker.system.processes import family_of, kill_all
from udocker.values import dataclass, replace

_LOG = Log(__name__)


@contextmanager
def intended(store: Store, container_id: str) -> Iterator[None]:
    """Write down that this process is about to make a container, and to run and to remove it.

    Without that nobody would know whose it is if this process is killed before the run begins.  It is taken
    back where the block raises; who begins the run calls ``settle_intention``.  Raises StoreError.
    """
    directory = str(store.paths.containers / container_id)
    process = ProcessIdentity.current()
    record = RunRecord(container_id, directory, RUN, "", (), {}, process, None, time.time(), (), True)
    run = store.create().runs.write(record)
    try:
        yield
    except BaseException:
        store.runs.forget(run)
        raise


def settle_intention(store: Store, container_id: str, begun: Optional[KeptRun] = None) -> None:
    """Forget what ``intended`` wrote of a container, for its run has ``begun``, or will not be known."""
    for run in store.runs.of(container_id):
        if not run.record.mode and (begun is None or run.path != begun.path):
            store.runs.forget(run)


@dataclass(frozen=True)
class Keeper:
    """This process as the one that waits for a run of a container; ``remove`` is for the container's end."""

    store: Store
    run: KeptRun

    @classmethod
    def begin(
        cls,
        store: Store,
        container: Container,
        launch: Launch,
        mode: str,
        remove: bool,
        ports: tuple[tuple[str, str], ...] = (),
    ) -> Keeper:
        """Write the run down, before it starts; raises StoreError."""
        keeper = ProcessIdentity.current()
        argv, env = launch.argv, launch.env
        record = RunRecord(
            container.id,
            container.directory,
            RUN,
            mode,
            argv,
            env,
            keeper,
            None,
            time.time(),
            ports,
            remove,
        )
        return cls(store, store.create().runs.write(record))

    def note_program(self) -> None:
        """Write down that the calling process is about to become the program: nobody can miss it then."""
        try:
            self.store.runs.write(self.run.record.started(ProcessIdentity.current()))
        except StoreError as error:
            _LOG.warning("%s; the run goes on, and is known as long as udocker waits for it", error.message)

    def end(self, status: Optional[int]) -> None:
        """The program has ended, or could not start (None): the container goes if it was to.

        Where another run of it is alive here, the last to end does that.  Programs that have joined the run
        end with it.
        """
        record = self.run.record
        for joined in noted(record.container):
            if joined.kind == EXEC and joined.directory == record.directory and self._is_last():
                kill_all(family_of([joined.keeper.pid]), signal.SIGKILL)
        if status is not None:
            self._note_end(status)
        if self._is_last():
            self._remove_if_asked()
        elif record.remove and status is not None:
            _LOG.warning("run: --rm: %s: stays until what else runs in it has ended", record.container)
        if status is None:
            self.store.runs.forget(self.run)

    def _note_end(self, status: int) -> None:
        try:
            self.store.runs.write(replace(self._latest(), ended=time.time(), status=status))
        except StoreError as error:
            # What follows is to be done all the same: it is what makes room.
            _LOG.warning("%s; the status of the run, %d, is not kept", error.message, status)

    def _is_last(self) -> bool:
        """Whether no other run of the container is alive here."""
        record = self.run.record
        others = [run for run in self.store.runs.of(record.container) if run.path != self.run.path]
        here = [other for other in noted(record.container) if other.kind != EXEC]
        return not here and not any(run.is_alive for run in others)

    def _latest(self) -> RunRecord:
        """The record with its program, which the program itself has written."""
        runs = self.store.runs.of(self.run.record.container)
        return next((run.record for run in runs if run.path == self.run.path), self.run.record)

    def _remove_if_asked(self) -> None:
        """Remove the container, if this run or one that ended before it was to take it along."""
        runs = self.store.runs.of(self.run.record.container)
        asked = [run for run in runs if run.record.remove and (run.record.ended or run.path == self.run.path)]
        if not asked:
            return
        try:
            self.store.containers.remove(self.run.record.directory)
        except NotFoundError:
            _LOG.debug("run: --rm: %s: gone already, as was asked", self.run.record.container)
        for run in asked:
            self.store.runs.forget(run)
