"""The suite that zoo's own norms, architectures and recipes pass, for those of others: docs/plugins.md.

>>> from torch import nn
>>> from zoo.testing import check_norm
>>> check_norm(lambda num_channels: nn.GroupNorm(4, num_channels), batch_independent=True)
"""

from zoo.testing.architectures import check_architecture
from zoo.testing.norms import check_norm
from zoo.testing.recipes import check_recipe
from zoo.testing.suite import ConformanceError

__all__ = ["ConformanceError", "check_architecture", "check_norm", "check_recipe"]
