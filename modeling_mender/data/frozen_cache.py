"""Disk cache of the outputs of a frozen text encoder, read through memory maps and shared by runs.

A cache is a folder of shards, each written under a temporary name and renamed when whole. A shard is a safetensors
file of `num_texts` texts:

    keys       uint8  (num_texts, 16)        digest of each text's tokens
    offsets    int64  (num_texts + 1,)       text i owns states[offsets[i] : offsets[i + 1]]
    checksums  int64  (num_texts,)           CRC-32 of those bytes
    states     dtype  (num_states, hidden_size)
"""

import hashlib
import json
import logging
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import PreTrainedModel

from ..atomic_write import atomic_write, remove_leftovers, write_text
from ..processing_mender import pad_token_rows

logger = logging.getLogger(__name__)

CACHE_LIMIT_GB = 50.0
FORMAT = 1
SHARD_BYTES = 2**27
TOKENS_PER_BATCH = 16_384
# Fields of a text encoder's configuration that do not change its outputs.
_IRRELEVANT = {"_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}

# input_ids and attention_mask, (batch_size, sequence_length), to (batch_size, sequence_length or 1, hidden_size)
Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def text_key(token_ids: Sequence[int]) -> bytes:
    """Key of a text: a digest of 16 bytes of its token ids, hence of its words, the tokenizer and the truncation.

    >>> text_key([101, 7592, 102]) == text_key((101, 7592, 102)) != text_key([101, 102, 7592])
    True
    """
    return hashlib.blake2b(np.asarray(token_ids, np.int32).tobytes(), digest_size=16).digest()


def encoder_fingerprint(text_encoder: PreTrainedModel) -> str:
    """Fingerprint of a text encoder: 32 hexadecimal digits that depend on every weight and on the configuration.

    It survives saving and loading, and changes with fine-tuning.
    """
    state = hashlib.blake2b(digest_size=16)
    config = {name: value for name, value in text_encoder.config.to_dict().items() if name not in _IRRELEVANT}
    state.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weight in sorted(text_encoder.state_dict().items()):
        state.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        state.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return state.hexdigest()


class _Shard(NamedTuple):
    """An open file of the cache."""

    path: Path
    offsets: list[int]
    checksums: list[int]
    states: torch.Tensor
    is_checked: bytearray


class FrozenCache:
    """Cached states of texts by key, `(num_states, hidden_size)` each.

    Args:
        cache_dir (`str` or `Path`): Folder of the caches of all encoders, as `<kind>/<fingerprint>/`.
        kind (`str`): Name of the computed quantity; kinds do not share states.
        text_encoder (`PreTrainedModel`): The encoder that computes the states.
        dtype (`torch.dtype`): Type of the stored states.
        per_token (`bool`): Whether a text has one state per token or one in total.
        limit_gb (`float`, defaults to 50): Largest size of `cache_dir` as a whole, in 10^9 bytes.

    Raises:
        ValueError: If `cache_dir` is a file.
    """

    def __init__(
        self,
        cache_dir: str | Path,
        kind: str,
        text_encoder: PreTrainedModel,
        dtype: torch.dtype,
        per_token: bool,
        limit_gb: float = CACHE_LIMIT_GB,
    ) -> None:
        self.cache_dir, self.limit_gb = Path(cache_dir), limit_gb
        if self.cache_dir.exists() and not self.cache_dir.is_dir():
            raise ValueError(f"cache_dir ({cache_dir}) is a file; give a folder.")
        self.dtype, self.per_token, self.hidden_size = dtype, per_token, text_encoder.config.hidden_size
        kind = f"{kind}_{str(dtype).removeprefix('torch.')}_v{FORMAT}"
        self.folder = self.cache_dir / kind / encoder_fingerprint(text_encoder)
        # written to the folder for its readers
        self._about = {"text_encoder": text_encoder.name_or_path or type(text_encoder).__name__}
        self._shards: dict[Path, _Shard] = {}
        self._places: dict[bytes, tuple[_Shard, int]] = {}
        self._read_shards()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def length(self, key: bytes) -> int:
        """Number of states of a text."""
        shard, row = self._places[key]
        return shard.offsets[row + 1] - shard.offsets[row]

    def read(self, key: bytes) -> torch.Tensor:
        """Reads the states of a text, `(num_states, hidden_size)`, as a view of the file.

        Raises:
            ValueError: If the checksum does not match.
        """
        shard, row = self._places[key]
        states = shard.states[shard.offsets[row] : shard.offsets[row + 1]]
        if not shard.is_checked[row]:
            if _checksum(states) != shard.checksums[row]:
                raise ValueError(f"{shard.path} is damaged; delete it, and its states are computed again.")
            shard.is_checked[row] = True
        return states

    def fill(self, texts: Mapping[bytes, Sequence[int]], compute: Compute, description: str) -> None:
        """Computes and stores the missing texts; of several processes one computes, and the others wait and read.

        Args:
            texts (`Mapping[bytes, Sequence[int]]`): Tokens by [`text_key`].
            compute (`Callable`): `(input_ids, attention_mask)`, both `(batch_size, sequence_length)`, to states
                `(batch_size, sequence_length or 1, hidden_size)`.
            description (`str`): Name of the states, for the progress bar.

        Raises:
            ValueError: If the states would exceed `limit_gb` or the free space, or overflow `dtype`.
        """
        if all(key in self for key in texts):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            self._read_shards()  # another process may have written while this one waited
            missing = {key: tokens for key, tokens in texts.items() if key not in self}
            if missing:
                self._fill(missing, compute, description)

    def _fill(self, missing: Mapping[bytes, Sequence[int]], compute: Compute, description: str) -> None:
        """Computes missing texts, the longest first, which saves padding and shows peak memory early."""
        needed = self._check_space(missing, description)
        remove_leftovers(self.folder)
        for unfinished in self.folder.glob("*.tmp"):  # of earlier versions; a directory may be another process's
            if unfinished.is_file():
                unfinished.unlink()
        write_text(self.folder / "encoder.json", json.dumps(self._about) + "\n")
        ordered = sorted(missing.items(), key=lambda text: -len(text[1]))
        name = f"{description}, {needed / 1e9:.3g} GB into {self.cache_dir}"
        held: dict[bytes, torch.Tensor] = {}
        done, held_bytes = 0, 0
        with tqdm(total=len(ordered), desc=name, unit="text", leave=False) as progress:
            while done < len(ordered):
                size = max(1, TOKENS_PER_BATCH // max(1, len(ordered[done][1])))
                batch = ordered[done : done + size]
                for (key, _), states in zip(batch, self._compute(batch, compute), strict=True):
                    held[key] = states
                    held_bytes += states.nbytes
                done += len(batch)
                progress.update(len(batch))
                if held_bytes >= SHARD_BYTES or done == len(ordered):
                    self._write_shard(held)
                    held, held_bytes = {}, 0

    def _compute(self, batch: Sequence[tuple[bytes, Sequence[int]]], compute: Compute) -> list[torch.Tensor]:
        """States of a batch of texts on the CPU, without padding."""
        tokens = pad_token_rows([tokens for _, tokens in batch], None)
        states = compute(tokens["input_ids"], tokens["attention_mask"]).to(self.dtype).cpu()
        if not torch.isfinite(states).all():
            raise ValueError(
                f"the text encoder's output does not fit into {self.dtype} (or is not finite); leave cache_dir out."
            )
        # copies, because a view would keep the whole batch in memory
        lengths = [len(tokens) if self.per_token else 1 for _, tokens in batch]
        return [row[:length].clone() for row, length in zip(states, lengths, strict=True)]

    def _check_space(self, texts: Mapping[bytes, Sequence[int]], description: str) -> int:
        """Number of bytes of the texts' states; raises a ValueError if they exceed the limit or the free space."""
        num_states = sum(len(tokens) for tokens in texts.values()) if self.per_token else len(texts)
        needed = num_states * self.hidden_size * self.dtype.itemsize
        held = sum(path.stat().st_size for path in self.cache_dir.rglob("*.safetensors"))
        what = (
            f"{description} take {needed / 1e9:.3g} GB ({num_states} states x {self.hidden_size} x "
            f"{self.dtype.itemsize} bytes)"
        )
        if needed + held > self.limit_gb * 1e9:
            raise ValueError(
                f"{what}, {self.cache_dir} holds {held / 1e9:.3g} GB and cache_limit_gb is {self.limit_gb:g}; raise "
                "it, delete what is no longer needed there, or leave cache_dir out."
            )
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ValueError(f"{what}, and {self.cache_dir} has {free / 1e9:.3g} GB left; give another cache_dir.")
        logger.info("%s in %s", what, self.folder)
        return needed

    def _write_shard(self, states: Mapping[bytes, torch.Tensor]) -> None:
        """Writes states to a new file and opens it."""
        keys = b"".join(states)
        lengths = [len(text) for text in states.values()]
        path = self.folder / f"{hashlib.blake2b(keys, digest_size=16).hexdigest()}.safetensors"
        tensors = {
            "keys": torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, 16),
            "offsets": torch.tensor([0, *lengths]).cumsum(0),
            "checksums": torch.tensor([_checksum(text) for text in states.values()]),
            "states": torch.cat(list(states.values())),
        }
        with atomic_write(path) as temporary:
            save_file(tensors, temporary)
        self._read_shards()

    def _read_shards(self) -> None:
        """Opens new shards and deletes damaged ones, whose texts are missing then."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path in self._shards:
                continue
            try:
                tensors = load_file(path)  # maps the file, reads what is touched
                keys = tensors["keys"].numpy()
                offsets, checksums = tensors["offsets"].tolist(), tensors["checksums"].tolist()
                shapes = {
                    "keys": (torch.uint8, (len(keys), 16)),
                    "offsets": (torch.int64, (len(keys) + 1,)),
                    "checksums": (torch.int64, (len(keys),)),
                    "states": (self.dtype, (offsets[-1], self.hidden_size)),
                }
                if shapes != {name: (one.dtype, tuple(one.shape)) for name, one in tensors.items()}:
                    raise ValueError("its tensors do not fit together")
            except FileNotFoundError:  # another process deleted it
                continue
            except (SafetensorError, ValueError, LookupError, TypeError) as error:
                logger.warning("%s is damaged (%s); it is deleted, and its states are computed again.", path, error)
                path.unlink(missing_ok=True)
                continue
            shard = _Shard(path, offsets, checksums, tensors["states"], bytearray(len(keys)))
            self._shards[path] = shard
            self._places.update((key.tobytes(), (shard, row)) for row, key in enumerate(keys))


def _checksum(states: torch.Tensor) -> int:
    """CRC-32 of the bytes of states."""
    return zlib.crc32(states.contiguous().view(torch.uint8).numpy().data)
