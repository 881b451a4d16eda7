"""A stand-in for ``torch.cuda`` on a CPU: what captures steps and replays them is tested without a GPU.

``Replay()`` has the names of ``torch.cuda`` that ``qtrain.training.captured.graph`` asks for, and what they do to
tensors on the CPU is what CUDA's do to those on a GPU:

- a capture computes nothing: it records each ATen call with its tensors and numbers, and at its end puts every storage
  that existed before, and the random state, back (BatchNorm's statistics too, which schemas do not mark as written);
- a replay computes the recorded calls into the recorded storages, whatever Python would decide by now, and draws new
  random numbers; it raises where a tensor that it reads is held by nobody else any more;
- where the host reads a tensor, or data of Python or of the host become a tensor of the device, the sync debug mode
  warns, and a capture is invalid, as any unsafe call of the capturing thread makes it, and of every thread where its
  mode is "global";
- streams and the current device are tracked: a graph holds only what was launched on its stream;
- the end of an invalid capture raises and leaves streams, allocator and generator as they happen to be, as torch 2.11
  does. ``left_behind`` says what is not as it was.

What a tensor of the host is follows from how it was made: by a factory that was given no device, or from such. An
operation on those alone is the host's own, which runs at once and in no graph.

Usage:
    cuda = Replay()
    step = StaticStep(model, optimizer, len(images), cuda)
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
# ATen's own kernels of these wait for the device, which no call within shows.
_READS = {aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.equal, aten.allclose, aten.nonzero}
_READS |= {aten.masked_select, aten._unique, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.bincount}
_READS |= {aten.repeat_interleave, aten.multinomial}
_EMPTY = {aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided}
_FACTORIES = {torch.ones, torch.zeros, torch.full, torch.arange, torch.rand, torch.randn, torch.randint, torch.empty}
_FACTORIES |= {torch.linspace, torch.eye, torch.scalar_tensor, torch.randperm}
_FROM_PYTHON = {torch.tensor, torch.as_tensor, torch.from_numpy, torch.asarray}
_TO_PYTHON = {Tensor.cpu, Tensor.tolist, Tensor.numpy, Tensor.__array__}
_MODES = {"default": 0, "warn": 1, "error": 2}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(*trees: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(trees) if isinstance(leaf, Tensor)]


class Stream:
    """A stream of one device; work on a CPU is done when it is launched, so that nothing waits."""

    def __init__(self, index: int):
        self.index = index

    def wait_stream(self, stream: Stream) -> None:
        assert self.index == stream.index


class Generator:
    """The device's random numbers, which are the CPU's here, and whether they are in capture mode."""

    def __init__(self, state: Tensor | None = None):
        self.capturing = False
        self._kept = state

    def clone_state(self) -> Generator:
        return Generator(torch.get_rng_state())

    def graphsafe_set_state(self, other: Generator) -> None:
        self.capturing = other.capturing
        assert other._kept is not None
        torch.set_rng_state(other._kept)


class Replay:
    """Stands in for ``torch.cuda``; see the module.

    Args:
        index: of the device whose tensors those of the CPU stand for; the current device is 0 at first.
        free: bytes of the device that nobody has.

    Attributes:
        captures: captures begun.
        replays: graphs launched.
    """

    def __init__(self, index: int = 0, free: int = 2**40):
        self.free = free
        self.captures = self.replays = 0
        self._index, self._device = index, 0
        self._streams = {0: Stream(0), index: Stream(index)}
        self._first = dict(self._streams)
        self._generator = Generator()
        self._pools: set[int] = set()
        self._sync = 0
        self._watch: _Modes | None = None
        self.capture: CUDAGraph | None = None  # under way
        self.memory = SimpleNamespace(_cuda_endAllocateToPool=self._end, _cuda_releasePool=lambda index, pool: None)
        self.default_generators = {None: self._generator, 0: self._generator, index: self._generator}

    def left_behind(self) -> list[str]:
        """What a capture has left otherwise than it was; empty where all is well."""
        found = ["the current stream"] if self._streams != self._first else []
        found += ["the current device"] if self._device != 0 else []
        found += ["the allocator is capturing"] if self._pools else []
        found += ["the generator is capturing"] if self._generator.capturing else []
        found += ["a capture is under way"] if self.capture else []
        return found + (["the sync debug mode"] if self._sync else [])

    def unsafe_call(self) -> None:
        """A call that may not come while a stream is captured, such as cudaHostAlloc; tests make it in any thread."""
        capture = self.capture
        if capture and (capture.error_mode == "global" or capture.thread == threading.get_ident()):
            capture.invalid = True
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    def host_reads(self) -> None:
        """The host waits for the device."""
        if self.capture:
            self.unsafe_call()
        elif self._sync == 1:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=_user_frame())
        elif self._sync == 2:
            raise RuntimeError("called a synchronizing CUDA operation")

    # The names of torch.cuda

    def current_device(self) -> int:
        return self._device

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        before, self._device = self._device, self._number(device)
        try:
            yield
        finally:
            self._device = before

    def Stream(self, device: Any = None) -> Stream:
        return Stream(self._number(device))

    def current_stream(self, device: Any = None) -> Stream:
        return self._streams[self._number(device)]

    def set_stream(self, stream: Stream) -> None:
        self._device = stream.index
        self._streams[stream.index] = stream

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        device, before = self._device, self._streams[stream.index]
        self.set_stream(stream)
        try:
            yield
        finally:
            self._streams[stream.index], self._device = before, device

    def CUDAGraph(self) -> CUDAGraph:
        return CUDAGraph(self)

    def graph_pool_handle(self) -> int:
        return id(object())

    @contextmanager
    def graph(
        self,
        graph: CUDAGraph,
        pool: int | None = None,
        stream: Stream | None = None,
        capture_error_mode: str = "global",
    ) -> Iterator[None]:
        """As torch 2.11's: where the capture's end raises, the stream stays the current one."""
        device = self._device
        stream = stream or Stream(device)
        before = self._streams[stream.index]
        self.set_stream(stream)
        graph.capture_begin(pool or self.graph_pool_handle(), capture_error_mode)
        try:
            yield
        finally:
            graph.capture_end()
            self._streams[stream.index], self._device = before, device

    def is_current_stream_capturing(self) -> bool:
        return self.capture is not None and self.capture.stream is self._streams[self._device]

    def get_sync_debug_mode(self) -> int:
        return self._sync

    def set_sync_debug_mode(self, mode: int | str) -> None:
        self._sync = _MODES[mode] if isinstance(mode, str) else mode
        if self._watch:
            self._watch.stop()
        self._watch = _Modes(self) if self._sync else None

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        return self.free, 2**40

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def _number(self, device: Any) -> int:
        if device is None:
            return self._device
        if isinstance(device, int):
            return device
        device = torch.device(device)
        return self._index if device.type == "cpu" else device.index

    def _end(self, index: int, pool: int) -> None:
        if pool not in self._pools:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self._pools.remove(pool)

    def launches(self) -> CUDAGraph | None:
        """The capture that a kernel goes to which is launched now; None where it runs."""
        capture = self.capture
        return capture if capture and capture.stream is self._streams[self._index] else None


class CUDAGraph:
    """The recorded calls of one capture, and what they are replayed with."""

    def __init__(self, cuda: Replay):
        self.invalid, self.error_mode, self.thread = False, "", 0
        self.stream: Stream | None = None
        self._cuda = cuda
        self._calls: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # storages from outside: bytes, and a copy of them
        self._made: set[int] = set()
        self._aliases: Counter[int] = Counter()
        self._pool = 0
        self._ended = False

    def capture_begin(self, pool: int, capture_error_mode: str) -> None:
        cuda = self._cuda
        assert not cuda._pools | ({0} if cuda._generator.capturing else set()), cuda.left_behind()
        cuda.captures += 1
        cuda.capture, self.stream = self, cuda.current_stream()
        self.error_mode, self.thread, self._pool = capture_error_mode, threading.get_ident(), pool
        cuda._pools.add(pool)
        cuda._generator.capturing = True
        self._random = torch.get_rng_state()
        self._modes = _Modes(cuda)

    def capture_end(self) -> None:
        cuda = self._cuda
        self._modes.stop()
        cuda.capture = None
        for held, value in self._before.values():
            held.copy_(value)
        torch.set_rng_state(self._random)
        if self.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        cuda._end(0, self._pool)
        cuda._generator.capturing = False
        self._outside = list(self._before)
        self._before.clear()
        self._ended = True
        if not self._calls:
            warnings.warn("The CUDA Graph is empty", stacklevel=2)

    def record(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run a call for its results' shapes, and keep it."""
        inputs = _tensors(args, kwargs)
        for tensor in inputs:
            if _storage(tensor) not in self._made and _storage(tensor) not in self._before:
                whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                self._before[_storage(tensor)] = whole, whole.clone()
        out = function(*args, **kwargs)
        known = {_storage(tensor) for tensor in inputs}
        results = [tensor for tensor in _tensors(out) if _storage(tensor) not in known]
        self._made.update(map(_storage, results))
        is_view = not results and not function._schema.is_mutable
        if (is_view and known and _tensors(out)) or function.overloadpacket in _EMPTY:
            return out
        own = tree_map_only(Tensor, self._alias, (args, kwargs))
        self._calls.append((function, *own, [self._alias(tensor) for tensor in results]))
        return out

    def replay(self) -> None:
        assert self._ended
        self._cuda.replays += 1
        for storage in self._outside:
            if torch._C._storage_Use_Count(storage) <= self._aliases[storage]:
                raise RuntimeError("the graph reads a tensor that is freed")
        with torch.no_grad():
            for function, args, kwargs, results in self._calls:
                known = {_storage(tensor) for tensor in _tensors(args, kwargs)}
                found = [t for t in _tensors(function(*args, **kwargs)) if _storage(t) not in known]
                for result, value in zip(results, found, strict=True):
                    result.copy_(value)

    def _alias(self, tensor: Tensor) -> Tensor:
        self._aliases[_storage(tensor)] += 1
        return tensor.detach()


class _Modes:
    """Sees every call from here on until ``stop``."""

    def __init__(self, cuda: Replay):
        self.cuda = cuda
        self.host: dict[int, Tensor] = {}  # storages of the host, held so that no other takes their place
        self._function, self._dispatch = _Functions(self), _Dispatch(self)
        self._dispatch.__enter__()
        self._function.__enter__()

    def stop(self) -> None:
        self._function.__exit__(None, None, None)
        self._dispatch.__exit__(None, None, None)

    def is_host(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and _storage(tensor) in self.host

    def mark(self, out: Any) -> Any:
        for tensor in _tensors(out):
            self.host[_storage(tensor)] = tensor.detach()
        return out


class _Functions(TorchFunctionMode):
    """Python's calls: which tensors are the host's, and what goes between the host and the device."""

    def __init__(self, modes: _Modes):
        super().__init__()
        self._modes = modes

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, modes = kwargs or {}, self._modes
        if function is Tensor.backward:
            with self:  # which it would else run without
                gradient = args[1] if len(args) > 1 else kwargs.pop("gradient", None)
                return torch.autograd.backward(args[0], gradient, **kwargs)
        if function in _FROM_PYTHON | _FACTORIES and kwargs.get("device") is None and not _tensors(args):
            return modes.mark(function(*args, **kwargs))
        from_python = (function in _FROM_PYTHON and not _tensors(args)) or function is Tensor.new_tensor
        own = bool(args) and isinstance(args[0], Tensor)
        to_python = function in _TO_PYTHON or (function is Tensor.to and "cpu" in (*args[1:], kwargs.get("device")))
        if own and to_python and not modes.is_host(args[0]):
            modes.cuda.host_reads()
            return modes.mark(function(args[0].clone(), *args[1:], **kwargs))
        if own and function in (Tensor.to, Tensor.type_as) and modes.is_host(args[0]):
            return self._moved(function, args, kwargs)
        if from_python:
            modes.cuda.host_reads()
        return function(*args, **kwargs)

    def _moved(self, function: Any, args: Any, kwargs: Any) -> Any:
        """A tensor of the host that becomes another type, or the device's."""
        others = [*args[1:], *kwargs.values()]
        stays = [self._modes.is_host(o) for o in others if isinstance(o, Tensor)]
        to_device = (stays and not all(stays)) or any(isinstance(o, torch.device) for o in others)
        out = function(*args, **kwargs)
        if not to_device:
            return self._modes.mark(out)
        self._modes.cuda.host_reads()
        with _disable_current_modes():
            return out.clone()


class _Dispatch(TorchDispatchMode):
    """ATen's calls."""

    def __init__(self, modes: _Modes):
        super().__init__()
        self._modes = modes

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, modes = kwargs or {}, self._modes
        inputs = _tensors(args, kwargs)
        on_host = [modes.is_host(tensor) for tensor in inputs]
        if inputs and all(on_host):
            return modes.mark(function(*args, **kwargs))
        self._check(function, inputs, on_host, args, kwargs)
        capture = modes.cuda.launches()
        return capture.record(function, args, kwargs) if capture else function(*args, **kwargs)

    def _check(self, function: Any, inputs: list[Tensor], on_host: list[bool], args: Any, kwargs: Any) -> None:
        cuda, packet = self._modes.cuda, function.overloadpacket
        by_mask = packet in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
        if packet in _READS or (by_mask and any(t.dtype == torch.bool for t in _tensors(args[1]))):
            cuda.host_reads()
        large = [tensor.dim() > 0 for tensor, is_host in zip(inputs, on_host, strict=True) if is_host]
        if packet is aten.copy_ and any(on_host):
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if waits or cuda.capture:
                cuda.host_reads()
        elif any(large):
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices")


def _user_frame() -> int:
    """How many frames above ``host_reads`` the code is that made the call."""
    depth, frame = 2, sys._getframe(2)
    while frame.f_back and ("/torch/" in frame.f_code.co_filename or frame.f_code.co_filename == __file__):
        depth, frame = depth + 1, frame.f_back
    return depth
