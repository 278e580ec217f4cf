"""From a resolved model to an ``nn.Module``: the only place that calls a builder."""

from zoo.builder.norm import Norm

__all__ = ["Norm"]
