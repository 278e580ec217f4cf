"""Norm builders: ``builder(num_channels, **kwargs) -> nn.Module`` on (N, C, H, W); a class is its own builder.

Named by ``registry.yaml`` and called through :class:`zoo.builder.norm.Norm`. Results store the names below, so they
stay; a norm that is added is named by its own module, as ``zoo.norms.MODULE:NAME``. Only torch is imported here; the
convolution of ``ws_gn`` is timm's, named in the registry and imported when a model needs it.
"""

from zoo.norms.batch import BatchRenorm2d, GhostBatchNorm2d
from zoo.norms.evonorm import EvoNormB0, EvoNormS0
from zoo.norms.frn import FilterResponseNorm
from zoo.norms.group import group_norm, instance_norm, layer_norm
from zoo.norms.none import skip_init
from zoo.norms.per_pixel import LayerNorm2d, RmsNorm2d

__all__ = [
    "BatchRenorm2d",
    "EvoNormB0",
    "EvoNormS0",
    "FilterResponseNorm",
    "GhostBatchNorm2d",
    "LayerNorm2d",
    "RmsNorm2d",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "skip_init",
]
