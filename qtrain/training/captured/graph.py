"""CUDA's part of a captured step: its stream, the capture, what a failed one leaves behind, and the watch for reads.

Everything is asked of ``torch.cuda`` by its own names, so that a stand-in for that module runs the same lines on a CPU.
"""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

Work = Callable[[], None]
_READ = "called a synchronizing CUDA operation"  # torch's words
_PROTOTYPE = "Synchronization debug mode is a prototype feature"
# A failed capture leaves a filter in torch's allocators that points at its graph: these must not be freed.
_failed: list[Any] = []


class StepGraph:
    """Kernels of one device that run on a stream of their own, and may be captured there.

    Args:
        device: where the kernels run.
        cuda: ``torch.cuda`` or what stands in for it.
    """

    def __init__(self, device: torch.device, cuda: Any):
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)
        self._graph: Any = None

    def run(self, work: Work) -> None:
        """Run the kernels one by one, on the stream that a capture uses, so that libraries are set up for it."""
        cuda = self._cuda
        with cuda.device(self._device):
            outer = cuda.current_stream(self._device)
            self._stream.wait_stream(outer)
            with cuda.stream(self._stream):
                work()
            outer.wait_stream(self._stream)

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Inside, it is noted where the host waits for the device; no capture can hold that.

        Yields:
            A list that has the places, as ``file:line``, once the context has ended.
        """
        places: list[str] = []
        mode = self._cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._cuda.set_sync_debug_mode("warn")
            try:
                yield places
            finally:
                self._cuda.set_sync_debug_mode(mode)
        for warning in caught:
            text = str(warning.message)
            if _READ in text:
                places.append(f"{warning.filename}:{warning.lineno}")
            elif _PROTOTYPE not in text:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def record(self, work: Work) -> None:
        """Capture the kernels without running them.

        Raises:
            Exception: what ``work`` or CUDA raises; streams, allocator and random numbers are as before then.
        """
        cuda = self._cuda
        gc.collect()  # what is freed within a capture may belong to an earlier graph
        graph = cuda.CUDAGraph()
        pool = cuda.graph_pool_handle()
        generator = cuda.default_generators[self._index]
        random_state = generator.clone_state()
        with cuda.device(self._device):
            outer = cuda.current_stream(self._device)
            try:
                # Loader threads pin memory meanwhile, which the mode "global" would take for this capture's fault.
                with cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                    work()
            except BaseException:
                _failed.append(graph)
                self._end_allocation(pool)
                generator.graphsafe_set_state(random_state)  # a new object, which is not in capture mode
                raise
            finally:
                cuda.set_stream(outer)  # torch.cuda.graph leaves its own where the capture's end raises
        self._graph = graph

    def replay(self) -> None:
        """Launch the captured kernels on the device's current stream."""
        with self._cuda.device(self._device):
            self._graph.replay()

    def random_state(self) -> Any:
        """Return the state of the device's random numbers."""
        return self._cuda.get_rng_state(self._device)

    def set_random_state(self, state: Any) -> None:
        """Set the state of the device's random numbers."""
        self._cuda.set_rng_state(state, self._device)

    @property
    def _index(self) -> int:
        index = self._device.index
        return int(self._cuda.current_device()) if index is None else index

    def _end_allocation(self, pool: Any) -> None:
        """Take the allocator out of the capture, where the capture's own end did not come so far."""
        memory = self._cuda.memory
        with suppress(RuntimeError, AttributeError):  # it had ended, or this torch has no such function
            memory._cuda_endAllocateToPool(self._index, pool)
            memory._cuda_releasePool(self._index, pool)
