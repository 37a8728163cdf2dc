"""Devices, processes and signals, so that one process or eight run the same loop.

The loop averages the gradients itself, once per turn: DistributedDataParallel allows neither a turn that
differentiates some players only nor a gradient penalty.
"""

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils.data import default_convert

from cranial.rng import generator

SIGNALS = tuple(name for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


def place(fabric: Fabric, module: nn.Module, *, channels_last: bool) -> None:
    """Move a module to the device, process 0's weights to all processes, 3-D kernels to channels_last_3d."""
    module.to(fabric.device)
    for parameter in module.parameters():
        parameter.data = _layout(parameter.data, channels_last)
    if fabric.world_size > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            same = tensor.data.contiguous()
            torch.distributed.broadcast(same, 0)
            tensor.data.copy_(same)


def batches_ahead(
    fabric: Fabric, batches: Callable[[int], Any], indices: range, *, workers: int, channels_last: bool
) -> Iterator[tuple[int, Any]]:
    """(index, batch on the device) in the order of `indices`, made ahead of time by `workers` threads.

    Threads and not processes: a process forked after OpenMP has run (numba, torch on the CPU) hangs or is ended, and
    what makes batches (closures over pools of skulls) cannot be sent to a spawned one. numpy, scipy and compiled
    kernels let go of the interpreter while they work.
    """

    def made(index: int) -> Any:
        batch = default_convert(batches(index))
        if fabric.device.type == "cuda":
            batch = apply_to_collection(batch, Tensor, Tensor.pin_memory)
        return batch

    def ready(batch: Any) -> Any:
        return apply_to_collection(fabric.to_device(batch), Tensor, _layout, channels_last)

    if not workers:
        for index in indices:
            yield index, ready(made(index))
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    coming: deque[tuple[int, Future]] = deque()
    try:
        for index in indices:
            coming.append((index, pool.submit(made, index)))
            if len(coming) > 2 * workers:
                first, future = coming.popleft()
                yield first, ready(future.result())
        while coming:
            first, future = coming.popleft()
            yield first, ready(future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _layout(tensor: Tensor, channels_last: bool) -> Tensor:
    last = channels_last and tensor.ndim == 5
    return tensor.contiguous(memory_format=torch.channels_last_3d) if last else tensor


def shared_gradients(fabric: Fabric, parameters: list[nn.Parameter]) -> list[Tensor]:
    """The gradients, now the same everywhere: their mean, for each parameter that any process has one for."""
    if fabric.world_size > 1:
        used = torch.tensor([p.grad is not None for p in parameters], device=fabric.device).float()
        mean(fabric, [used])
        for parameter, share in zip(parameters, used.tolist(), strict=True):
            if share and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    mean(fabric, gradients)
    return gradients


def mean(fabric: Fabric, tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in place; one message per dtype."""
    if fabric.world_size == 1:
        return
    for dtype in sorted({t.dtype for t in tensors}, key=str):  # in the same order everywhere
        same = [t.detach() for t in tensors if t.dtype == dtype]
        flat = fabric.all_reduce(torch.cat([t.reshape(-1) for t in same]), reduce_op="mean")
        for tensor, part in zip(same, flat.split([t.numel() for t in same]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def any_process(fabric: Fabric, flag: bool) -> bool:
    """True in every process if it is true in one."""
    if fabric.world_size == 1:
        return flag
    return bool(fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum"))


@contextmanager
def seeded(device: torch.device, seed: int, *item: int) -> Iterator[torch.Generator]:
    """A generator from (seed, item), and the same seed for layers that only know the global one (dropout)."""
    number = int(generator(seed, *item).integers(2**63))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(number)
        yield torch.Generator(device).manual_seed(number)


class StopNow(Exception):
    """Raised by a signal inside `Signals.interrupting`."""


class Signals:
    """Signals that ask to stop: remembered until the loop looks; a second Ctrl-C does not wait."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._interrupt = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A signal sets `received` instead of ending the process (in a thread, where none can, no change)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {name: signal.signal(getattr(signal, name), self._receive) for name in SIGNALS}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)

    @contextmanager
    def interrupting(self, allowed: bool) -> Iterator[None]:
        """Around what may be long and changes nothing: a signal ends it at once with StopNow."""
        self._interrupt = allowed
        try:
            if allowed and self.received:
                raise StopNow
            yield
        finally:
            self._interrupt = False

    def _receive(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        if self._interrupt:
            raise StopNow
