"""Ranking metrics as pure functions. The `evaluate.Metric` on top of them lives in `ranking_metrics.py`."""

from .metrics import m_at_k, ndcg_at_k, recall_at_k, score_run

__all__ = ["m_at_k", "ndcg_at_k", "recall_at_k", "score_run"]
