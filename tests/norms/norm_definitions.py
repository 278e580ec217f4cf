"""Every built-in norm once more, from its paper, in float64 and with nothing but elementwise operations and means.

A definition is ``f(x, p, training) -> (y, buffers)``: `p` holds the layer's parameters and buffers (float64), `buffers`
what the layer must hold afterwards. What is not differentiated is detached, so that gradients can be compared as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

Parts = dict[str, Tensor]


def column(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def variance(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return ((x - x.mean(dims, keepdim=True)) ** 2).mean(dims, keepdim=True)


def affine(x: Tensor, p: Parts) -> Tensor:
    return x * column(p["weight"]) + column(p["bias"])


def standardise(x: Tensor, dims: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    return (x - x.mean(dims, keepdim=True)) / (variance(x, dims) + eps) ** 0.5


def grouped(x: Tensor, size: int) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, c // size, size, h, w)


def unbiased(x: Tensor) -> Tensor:
    count = x.numel() // x.shape[1]
    return variance(x, (0, 2, 3)).flatten() * count / (count - 1)


def moved(p: Parts, steps: int = 1, **towards: Tensor) -> Parts:
    """The buffers after a training step with momentum 0.1."""
    buffers = {name: 0.9 * p[name] + 0.1 * value.detach() for name, value in towards.items()}
    if "num_batches_tracked" in p:
        buffers["num_batches_tracked"] = p["num_batches_tracked"] + steps
    return buffers


def batch_norm_eval(x: Tensor, p: Parts) -> Tensor:
    return affine((x - column(p["running_mean"])) / (column(p["running_var"]) + 1e-5) ** 0.5, p)


def bn(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    if not training:
        return batch_norm_eval(x, p), {}
    y = affine(standardise(x, (0, 2, 3)), p)
    return y, moved(p, running_mean=x.mean((0, 2, 3)), running_var=unbiased(x))


def bn_ghost(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    if not training:
        return batch_norm_eval(x, p), {}
    count = max(1, len(x) // 32)
    sizes = [len(x) // count + (i < len(x) % count) for i in range(count)]
    ghosts = x.split(sizes)
    y = torch.cat([affine(standardise(ghost, (0, 2, 3)), p) for ghost in ghosts])
    mean = sum(ghost.mean((0, 2, 3)) for ghost in ghosts) / count
    return y, moved(p, running_mean=mean, running_var=sum(unbiased(ghost) for ghost in ghosts) / count)


def brn(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    if not training:
        return batch_norm_eval(x, p), {}
    step = int(p["num_batches_tracked"])
    r_max = 1 + 2 * min(max((step - 200) / 1400, 0), 1)
    d_max = 5 * min(max((step - 200) / 800, 0), 1)
    mean, var = x.mean((0, 2, 3)).detach(), variance(x, (0, 2, 3)).flatten().detach()
    std = (p["running_var"] + 1e-5) ** 0.5
    r = ((var + 1e-5) ** 0.5 / std).clamp(1 / r_max, r_max)
    d = ((mean - p["running_mean"]) / std).clamp(-d_max, d_max)
    y = affine(standardise(x, (0, 2, 3)) * column(r) + column(d), p)
    return y, moved(p, running_mean=mean, running_var=var)


def ln(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    return affine(standardise(x, (1, 2, 3)), p), {}


def gn(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    size = 12 if x.shape[1] == 24 else x.shape[1]
    return affine(standardise(grouped(x, size), (2, 3, 4)).reshape(x.shape), p), {}


def instance(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    return affine(standardise(x, (2, 3)), p), {}


def ln2d(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    return affine(standardise(x, (1,), 1e-6), p), {}


def rms2d(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    return x / ((x**2).mean(1, keepdim=True) + 1e-6) ** 0.5 * column(p["weight"]), {}


def evos0(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    size = 12 if x.shape[1] == 24 else x.shape[1]
    gate = 1 / (1 + (-column(p["v"]) * x).exp()) if "v" in p else 1
    std = (variance(grouped(x, size), (2, 3, 4)) + 1e-5) ** 0.5
    return affine((grouped(x * gate, size) / std).reshape(x.shape), p), {}


def evob0(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    of_batch = variance(x, (0, 2, 3)) if training else column(p["running_var"])
    below = (of_batch + 1e-3) ** 0.5
    if "v" in p:
        other = column(p["v"]) * x + (variance(x, (2, 3)) + 1e-3) ** 0.5
        below = below.where(below >= other, other)
    return affine(x / below, p), moved(p, running_var=unbiased(x)) if training else {}


def frn(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    y = affine(x / ((x**2).mean((2, 3), keepdim=True) + 1e-6) ** 0.5, p)
    if "tau" in p:
        y = y.where(y >= column(p["tau"]), column(p["tau"]))
    return y, {}


def none(x: Tensor, p: Parts, training: bool) -> tuple[Tensor, Parts]:
    return affine(x, p), {}


DEFINITIONS = {
    "bn": bn,
    "syncbn": bn,
    "bn_ghost": bn_ghost,
    "brn": brn,
    "ln": ln,
    "gn": gn,
    "in": instance,
    "ln2d": ln2d,
    "rms2d": rms2d,
    "evos0": evos0,
    "evob0": evob0,
    "frn": frn,
    "ws_gn": gn,  # its convolution has a test of its own
    "none": none,
}
