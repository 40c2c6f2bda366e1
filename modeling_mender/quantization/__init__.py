"""From item texts to semantic IDs: embed, quantise (RQ-VAE or residual k-means), make unique. Never on the Hub."""
