"""One thing varied, every model under each variant."""
