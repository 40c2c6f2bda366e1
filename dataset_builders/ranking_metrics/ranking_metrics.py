"""`evaluate.Metric` of recall@k, ndcg@k, m@k, avoid@k, strength@k and all@k.

`evaluate` copies this file and its relative imports, so the folder works alone, as a local directory or as a Space.
"""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import datasets
import evaluate

from .metrics import as_rows, check_options, score_run

_DESCRIPTION = """\
Recall@k and ndcg@k of ranked item ids; m@k for sentiment following, avoid@k for avoidance, strength@k for monotonicity
in the strength of a preference, and all@k for several relevant items. Means over rows.
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: one ranking of item ids per row, best first, of any length; -1 is an empty place. An item may occur
        once; places beyond the end of a ranking are misses.
    references: the relevant item of each row, or a list of several.
    k: places that count, one integer or several (default: 5 and 10).
    predictions_negative: rankings for the negative preferences, row by row; `predictions` are then the positive ones'.
    predictions_without, avoided: rankings without the request to avoid, and the items to avoid; `predictions` are then
        those with the request.
    predictions_by_strength: a list of rankings by strength, the first without the preference, the last the strongest.
    all_items: whether to add all@k.

Returns:
    dict with recall@k and ndcg@k for every k, and m@k, avoid@k, strength@k and all@k where they are asked for.

Examples:
    >>> metric = evaluate.load("dataset_builders/ranking_metrics")
    >>> metric.compute(predictions=[[3, 9, 1]], references=[9], k=[1, 3])
    {'recall@1': 0.0, 'recall@3': 1.0, 'ndcg@1': 0.0, 'ndcg@3': 0.6309297535714575}
"""

_CITATION = """\
@article{paischer2024preference,
  title = {Preference Discerning with LLM-Enhanced Generative Retrieval},
  author = {Paischer, Fabian and Yang, Liu and Liu, Linfeng and Shao, Shuai and Hassani, Kaveh and Li, Jiacheng and
            Chen, Ricky and Li, Zhang Gabriel and Gao, Xialo and Shao, Wei and Feng, Xue and Noorshams, Nima and
            Park, Sem and Long, Bo and Eghbalzadeh, Hamid},
  year = {2024},
}
"""


class Scored(NamedTuple):
    """Figures, or the error of an option and the rows that it was refused for."""

    figures: dict[str, float]
    error: ValueError | None = None
    rows: Sequence[list] = ()


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RankingMetrics(evaluate.Metric):
    """Ranked item ids against relevant items."""

    def _info(self) -> evaluate.MetricInfo:
        items = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": items, "references": items}),
            reference_urls=["https://arxiv.org/abs/2412.08604"],
        )

    def add(self, *, prediction: list, reference: int | list[int], **kwargs: Any) -> None:
        """Adds one row after checking it; the library would truncate 3.7 to 3, and 3.0 is refused too."""
        (ranked,), (relevant,) = as_rows([prediction], [reference])
        super().add(prediction=ranked, reference=relevant, **kwargs)

    def add_batch(self, *, predictions: list, references: list, **kwargs: Any) -> None:
        """Adds rows after checking them; the library would truncate 3.7 to 3 and fail on empty input."""
        ranked, relevant = as_rows(predictions, references)
        super().add_batch(predictions=ranked, references=relevant, **kwargs)

    def compute(
        self, *, predictions: list | None = None, references: list | None = None, **kwargs: Any
    ) -> dict[str, float] | None:
        """Scores the rows that were added, and those given; where an option is refused, added rows stay."""
        if predictions is None and references is None and self.writer is None and self.num_process == 1:
            raise ValueError("there are no rows; add some, or give predictions and references.")
        unknown = kwargs.keys() - inspect.signature(score_run).parameters
        if unknown:
            raise ValueError(f"there is no option {min(unknown)!r}; see the docstring for those that there are.")
        check_options(kwargs.get("k", 1), kwargs.get("all_items", False))
        found: Scored | None = super().compute(predictions=predictions, references=references, **kwargs)
        if found is None or found.error is None:
            return found and found.figures
        rows = found.rows if predictions is None else [column[: -len(predictions)] for column in found.rows]
        if self.num_process > 1:
            raise ValueError(f"{found.error} The rows of all processes must be added again.") from None
        if rows[0]:
            self.add_batch(predictions=rows[0], references=rows[1])
        raise found.error

    def _compute(self, predictions: list, references: list, **options: Any) -> Scored:
        """Called by the library, which loses its rows if this raises."""
        try:
            return Scored(score_run(predictions, references, **options))
        except ValueError as error:
            return Scored({}, error.with_traceback(None), [predictions, references])
