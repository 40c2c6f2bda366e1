"""Ranking metrics as pure functions; `ranking_metrics.py` wraps them as an `evaluate.Metric`."""

from .metrics import all_at_k, avoid_at_k, m_at_k, ndcg_at_k, recall_at_k, score_run, strength_at_k

__all__ = ["all_at_k", "avoid_at_k", "m_at_k", "ndcg_at_k", "recall_at_k", "score_run", "strength_at_k"]
