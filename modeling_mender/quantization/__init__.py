"""Semantic IDs from item embeddings: an RQ-VAE or residual k-means, and a collision level."""
