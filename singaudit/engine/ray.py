"""A pass over images on a Ray cluster: Ray Data's ``map_batches`` over actors that open the models where they run."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from singaudit.cache.shelf import Shelf
from singaudit.cache.store import surroundings
from singaudit.classifier.sandbox.messages import receive
from singaudit.dataset.interface import ImageSource, Skipped
from singaudit.engine.gathering import Gathering, Read
from singaudit.engine.interface import EngineSettings, Outputs, Pass, Step, anywhere
from singaudit.engine.ray_worker import Stretches, Task, names_digest
from singaudit.errors import ConfigError, DatasetError, MachineError, ModelError, SingauditError, short
from singaudit.machine import arithmetic, cores

_BATCHES = 4
"""Batches of one stretch: what a worker that dies has to do again, and what an answer holds."""
_MOST_TASKS = 10_000
_STARTS = 3
_KINDS: dict[str, type[SingauditError]] = {
    kind.code: kind for kind in (ConfigError, DatasetError, MachineError, ModelError)
}
_KEPT = "What was computed is kept in the cache: start it again."


class RayEngine:
    """Implements ``Engine`` on a cluster, or on workers of this machine where no address is given."""

    def __init__(self, settings: EngineSettings) -> None:
        """Raises ``ConfigError`` where Ray is not installed."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray.data
        except ImportError as error:
            raise ConfigError(
                "expected Ray for --engine ray, it is not installed", hint="Run pip install 'singaudit[ray]'"
            ) from error
        self._ray, self._settings = ray, settings

    def __call__(
        self,
        source: ImageSource,
        steps: Mapping[str, Step],
        *,
        batch_size: int,
        exclude: frozenset[str] = frozenset(),
        only: Shelf | None = None,
        limit: int | None = None,
        start: int = 0,
        progress: Callable[[int], None] = lambda n: None,
    ) -> Pass:
        """As ``Engine`` says. Workers open the source by its name: its files lie where they can read them."""
        gathering = Gathering(source, steps, exclude, only, limit, start)
        task = Task(
            source=anywhere(source.name),
            images=len(source),
            names=names_digest(source.names),
            batch_size=batch_size,
            recipes={key: step.recipe for key, step in steps.items()},
            known={key: step.shelf.contents() for key, step in steps.items() if step.shelf is not None},
            exclude=exclude,
            only=only.contents() if only is not None else None,
            cpus=max(1, int(self._settings.cpus)),
            made_by=surroundings(),
            arithmetic=arithmetic("cpu"),
        )
        own = self._connect()
        try:
            for read, computed in self._answers(task, gathering.start, gathering.end):
                gathering.add(read, gathering.fresh(read), computed)
                progress(len(read.indices) + len(read.skipped))
        except SingauditError:
            raise
        except (OSError, self._ray.exceptions.RayError) as error:
            raise MachineError(f"the Ray cluster failed: {short(error)}", hint=_KEPT) from error
        finally:
            gathering.flush()
            if own:
                self._ray.shutdown()
        return gathering.result()

    def _connect(self) -> bool:
        """Join the cluster; True where this process began to, and has to leave it. Raises ``MachineError``."""
        if self._ray.is_initialized():
            return False
        address = self._settings.address
        local: dict[str, Any] = {"include_dashboard": False, "num_cpus": cores()} if address is None else {}
        for attempt in range(_STARTS):
            try:
                self._ray.init(address=address or "local", logging_level="error", log_to_driver=False, **local)
                break
            except Exception as error:  # it raises many kinds for a cluster that is not there
                # A busy machine may take longer to start one than Ray's processes wait for each other.
                if address is None and attempt + 1 < _STARTS:
                    self._ray.shutdown()
                    continue
                where = f"at {address}" if address else "on this machine"
                raise MachineError(
                    f"no Ray cluster could be reached or started {where}: {short(error)}",
                    hint="Check --ray-address and ray status; without it one is started here.",
                ) from error
        return True

    def _answers(self, task: Task, start: int, end: int) -> Iterator[tuple[Read, dict[str, tuple[list[int], Outputs]]]]:
        """What the workers found, in the source's order."""
        data = self._ray.data
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        step = task.batch_size * _BATCHES
        stretches = [{"start": at, "end": min(at + step, end)} for at in range(start, end, step)]
        if not stretches:
            return
        room = int(self._ray.cluster_resources().get("CPU", 1) // self._settings.cpus)
        actors = data.ActorPoolStrategy(size=min(self._settings.actors or max(1, room), len(stretches)))
        reference = self._ray.put(task)  # held here, so that an actor that is started again still finds it
        rows = data.from_items(stretches, override_num_blocks=min(len(stretches), _MOST_TASKS)).map_batches(
            Stretches,
            fn_constructor_args=(reference,),
            batch_size=1,
            compute=actors,
            num_cpus=self._settings.cpus,
            num_gpus=self._settings.gpus or None,
        )
        for row in rows.iter_rows():
            yield from _read(row["answer"])


def _read(answer: bytes) -> Iterator[tuple[Read, dict[str, tuple[list[int], Outputs]]]]:
    """The batches of one stretch. Raises what went wrong on the worker."""
    stream: Any = io.BytesIO(answer)
    while True:
        try:
            fields, arrays = receive(stream)
        except EOFError:
            return
        if "error" in fields:
            raise _KINDS.get(fields["code"], MachineError)(fields["error"], hint=fields["hint"])
        skipped = [Skipped(name, reason) for name, reason in fields["skipped"]]
        read = Read(fields["indices"], fields["names"], fields["sha256"], fields["notes"], skipped)
        yield (
            read,
            {
                key: (rows, tuple(arrays[f"{key} {i}"] for i in range(count)))
                for key, (rows, count) in fields["computed"].items()
            },
        )
