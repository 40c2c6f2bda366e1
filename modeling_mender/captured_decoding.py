"""Beam searches of fixed shapes over static buffers, captured as CUDA graphs where there is a GPU."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from .constrained_decoding import BeamSearchOutput
from .trie import NodeLogWeights, SparseNodeLogWeights

# A search of encoder states `(batch_size, sequence_length, d_model)`, their mask, and log-weights of nodes.
Search = Callable[[torch.Tensor, torch.Tensor, NodeLogWeights | None], BeamSearchOutput]

STATES_STEP, LISTED_STEP = 64, 256  # lengths of the states and of lists of items are rounded up to these
MAX_CAPTURED = 16  # shapes that are kept; the one used longest ago goes


@dataclass
class _Captured:
    """A search of one shape: its inputs, and what runs it on them."""

    inputs: list[torch.Tensor]
    run: Callable[[], BeamSearchOutput]


class CapturedSearch:
    """Runs searches from buffers of fixed shapes; on a GPU each shape is one CUDA graph, captured on first use.

    A graph costs one launch instead of hundreds per level, and nothing in it waits for the host. Rows of padding are
    searched and dropped. Graphs read the weights of the model and the trie where they lie: if one has moved, as by
    `model.to(...)` or another catalog, all graphs are captured again. Calls from several threads take turns.
    """

    def __init__(self) -> None:
        self._captured: OrderedDict[tuple, _Captured] = OrderedDict()
        self._reads: list[torch.Tensor] = []
        self._places: list[int] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["CapturedSearch"], tuple[()]]:
        """A copy has no graphs: those of this one read the weights of another model."""
        return CapturedSearch, ()

    def __len__(self) -> int:
        """Number of shapes held."""
        return len(self._captured)

    def __call__(
        self,
        search: Search,
        states: torch.Tensor,
        mask: torch.Tensor,
        node_log_weights: NodeLogWeights | None,
        settings: Hashable,
        reads: Sequence[torch.Tensor],
    ) -> BeamSearchOutput:
        """Searches for a batch of requests.

        Args:
            search (`Callable`): What to capture; without a host synchronization, and of the same effect for the same
                shapes, `settings` and `reads`.
            states (`torch.Tensor`): Shape `(batch_size, sequence_length, d_model)`, of the encoder.
            mask (`torch.Tensor`): Shape `(batch_size, sequence_length)`; 0 where padded.
            node_log_weights (`NodeLogWeights`, *optional*): As in [`beam_search`].
            settings (`Hashable`): All else that the search depends on, such as the number of beams.
            reads (`Sequence[torch.Tensor]`): Weights of the model and arrays of the trie that the search reads.

        Returns:
            [`BeamSearchOutput`]: Of the requests alone, in memory of its own.
        """
        batch_size, length, _ = states.shape
        rows, columns = 1 << (batch_size - 1).bit_length(), -(-length // STATES_STEP) * STATES_STEP
        given = [
            functional.pad(states, (0, 0, 0, columns - length, 0, rows - batch_size)),
            functional.pad(mask.long(), (0, columns - length, 0, rows - batch_size)),
        ]
        given[1][batch_size:, 0] = 1  # a row without a visible state would be NaN
        is_sparse = isinstance(node_log_weights, SparseNodeLogWeights)
        for array in _arrays(node_log_weights):
            more = (0, -array.shape[1] % LISTED_STEP if is_sparse else 0) if array.ndim > 1 else ()
            given.append(functional.pad(array, (*more, 0, rows - batch_size)))
        with self._lock:
            captured = self._find(search, given, node_log_weights, settings, reads)
            for buffer, value in zip(captured.inputs, given, strict=True):
                buffer.copy_(value)
            found = captured.run()
            return BeamSearchOutput(*(one[:batch_size].clone() for one in (found.items, found.scores, found.codes)))

    def _find(
        self,
        search: Search,
        given: list[torch.Tensor],
        node_log_weights: NodeLogWeights | None,
        settings: Hashable,
        reads: Sequence[torch.Tensor],
    ) -> _Captured:
        """The search for inputs of these shapes, captured if it is new."""
        places = [tensor.data_ptr() for tensor in reads]
        if places != self._places:
            self._captured.clear()
            self._reads, self._places = list(reads), places  # held, so that no other tensor can take a place
        form = node_log_weights.times_leaves if isinstance(node_log_weights, SparseNodeLogWeights) else None
        key = (settings, form, *((tuple(one.shape), one.dtype, one.device) for one in given))
        if key not in self._captured:
            inputs = [torch.empty_like(one).copy_(one) for one in given]
            self._captured[key] = _capture(search, inputs, node_log_weights)
            if len(self._captured) > MAX_CAPTURED:
                self._captured.popitem(last=False)
        self._captured.move_to_end(key)
        return self._captured[key]


def _arrays(node_log_weights: NodeLogWeights | None) -> list[torch.Tensor]:
    """Arrays of log-weights of nodes, one row per request each."""
    if isinstance(node_log_weights, SparseNodeLogWeights):
        weights = node_log_weights.weights
        return [weights.items, weights.log_weights, weights.rest]
    return [] if node_log_weights is None else list(node_log_weights)


def _capture(search: Search, inputs: list[torch.Tensor], node_log_weights: NodeLogWeights | None) -> _Captured:
    """Captures a search from buffers; on the CPU it is only kept."""
    states, mask, *arrays = inputs
    weights: NodeLogWeights | None = arrays or None
    if isinstance(node_log_weights, SparseNodeLogWeights):
        listed = replace(node_log_weights.weights, items=arrays[0], log_weights=arrays[1], rest=arrays[2])
        weights = replace(node_log_weights, weights=listed, keeps_shapes=True)

    def run() -> BeamSearchOutput:
        return search(states, mask, weights)

    if not states.is_cuda:
        return _Captured(inputs, run)
    with torch.cuda.device(states.device):
        # first runs outside of the graph: libraries allocate their workspaces, and arrays of the trie are made
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # other threads may go on allocating meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = run()

    def replay() -> BeamSearchOutput:
        graph.replay()
        return output

    return _Captured(inputs, replay)
