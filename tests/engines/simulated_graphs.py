"""CUDA graphs as a CPU can have them: what a step did is done again, on the same memory.

A replay repeats operations, not Python: a number or an address that a step took from Python stays
what it was when the step was captured, as on a GPU.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


class Graph(TorchDispatchMode):
    """Stands for ``torch.cuda.CUDAGraph`` and, while it captures, for ``torch.cuda.graph``."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._made: set[int] = set()  # memory of its own
        self.reads: dict[int, StorageWeakRef] = {}  # memory that it was given

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors((args, kwargs)):
            if _key(tensor) not in self._made:
                self.reads.setdefault(_key(tensor), StorageWeakRef(tensor.untyped_storage()))
        self._made |= {_key(tensor) for tensor in _tensors(result)} - self.reads.keys()
        self._calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, first in self._calls:
            again = func(*args, **kwargs)
            for old, new in zip(_tensors(first), _tensors(again), strict=True):
                if _key(old) != _key(new):
                    old.copy_(new)

    def forget(self) -> None:
        """Hold nothing, as a real one does: ``reads`` then tells what is still there."""
        self._calls.clear()


class _Stream:
    def wait_stream(self, other: _Stream) -> None:
        pass


def simulate_graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Let ``Capturer`` capture on a CPU; returns the graphs, as they are captured."""
    graphs: list[Graph] = []

    def graph() -> Graph:
        graphs.append(Graph())
        return graphs[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return graphs
