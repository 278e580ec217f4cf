"""From a resolved model to an ``nn.Module``: the only place that calls a builder."""
