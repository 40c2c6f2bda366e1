"""Ranking metrics as pure functions; `ranking_metrics.py` wraps them as an `evaluate.Metric`."""

from .metrics import m_at_k, ndcg_at_k, recall_at_k, score_run

__all__ = ["m_at_k", "ndcg_at_k", "recall_at_k", "score_run"]
