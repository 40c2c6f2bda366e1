"""The paper's tables and figures: what was published, and our results beside it, as Markdown, CSV and pictures."""
