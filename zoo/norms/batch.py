"""Two relatives of BatchNorm: ghost batches, and batch renormalisation. torch's fused kernel does the work in both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import RegistryError


class _TrackingBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that always has running statistics, which torch's may lack."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def extra_repr(self) -> str:
        """What ``print(module)`` shows in brackets."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class GhostBatchNorm2d(_TrackingBatchNorm2d):
    """BatchNorm whose training statistics are those of ghost batches of about `ghost_size` images.

    (N, C, H, W) -> same shape. A batch is cut, in order, into ``max(1, N // ghost_size)`` ghost batches of nearly
    equal size, so a remainder is shared out: 100 images of ghost size 32 give 34, 33 and 33. Evaluation is BatchNorm's.
    The running statistics move once per batch, towards the mean of the ghost batches' statistics; the paper moves them
    once per ghost batch, which at 16 ghost batches and momentum 0.1 would forget all but the last few.
    Raises :class:`~zoo.errors.RegistryError` where `ghost_size` is below 1.
    Paper: Hoffer, Hubara, Soudry, "Train longer, generalize better", arXiv:1705.08741.
    """

    def __init__(self, num_channels: int, ghost_size: int = 32, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_channels, eps=eps, momentum=momentum)
        if ghost_size < 1:
            raise RegistryError(f"ghost_size {ghost_size} must be 1 or more")
        self.ghost_size = ghost_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        ghosts = max(1, x.shape[0] // self.ghost_size)
        if not self.training or ghosts == 1:
            return super().forward(x)
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        size, more = divmod(x.shape[0], ghosts)
        # split, not tensor_split, whose backward pass fills and adds a tensor of the whole batch for every part.
        ghost_batches = torch.split(x, [size + (i < more) for i in range(ghosts)])
        # Momentum 1/(i+1) makes the kernel's own running update a plain mean over the ghost batches.
        parts = [
            F.batch_norm(part, mean, var, self.weight, self.bias, True, 1 / (i + 1), self.eps)
            for i, part in enumerate(ghost_batches)
        ]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
            self.num_batches_tracked.add_(1)
        return torch.cat(parts)

    def extra_repr(self) -> str:
        """What ``print(module)`` shows in brackets."""
        return f"{super().extra_repr()}, ghost_size={self.ghost_size}"


class BatchRenorm2d(_TrackingBatchNorm2d):
    """BatchNorm corrected towards its running statistics while training, so that training and evaluation agree.

    ``((x - batch mean) / batch std * r + d) * weight + bias`` with ``r = batch std / running std`` clipped to
    [1/r_max, r_max] and ``d = (batch mean - running mean) / running std`` clipped to +-d_max, both without gradient.
    (N, C, H, W) -> same shape. Evaluation is BatchNorm's.

    The ramp, in training steps (`num_batches_tracked`, a buffer, so a resumed run goes on where it was): plain
    BatchNorm up to `start`, then r_max grows linearly from 1 to `r_max` at `r_end` and d_max from 0 to `d_max` at
    `d_end`. Defaults are the paper's limits and a 25th of its steps (5,000, 40,000, 25,000): runs here are that much
    shorter. `momentum` is torch's 0.1, not the paper's 0.01, for the same reason. ``running_var`` holds the biased
    variance, as the correction needs it.
    Raises :class:`~zoo.errors.RegistryError` where the limits or the ramp contradict themselves.
    Paper: Ioffe, "Batch Renormalization", arXiv:1702.03275.
    """

    def __init__(
        self,
        num_channels: int,
        r_max: float = 3.0,
        d_max: float = 5.0,
        start: int = 200,
        r_end: int = 1600,
        d_end: int = 1000,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(num_channels, eps=eps, momentum=momentum)
        if r_max < 1 or d_max < 0 or not 0 <= start < min(r_end, d_end):
            raise RegistryError(
                "batch renorm needs r_max >= 1, d_max >= 0 and 0 <= start < r_end, d_end; "
                f"got r_max={r_max}, d_max={d_max}, start={start}, r_end={r_end}, d_end={d_end}"
            )
        self.r_max, self.d_max = r_max, d_max
        self.start, self.r_end, self.d_end = start, r_end, d_end

    def limits(self) -> tuple[Tensor, Tensor]:
        """The clipping limits (r_max, d_max) of the step to come, as scalars on the device, so that nothing syncs."""
        dtype = torch.promote_types(self.running_var.dtype, torch.float32)
        steps = (self.num_batches_tracked - self.start).to(dtype)
        r_part = (steps / (self.r_end - self.start)).clamp(0, 1)
        d_part = (steps / (self.d_end - self.start)).clamp(0, 1)
        return 1 + (self.r_max - 1) * r_part, self.d_max * d_part

    @torch.no_grad()
    def _correction(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`r` and `d`, each (C,) in at least float32; the running statistics move towards this batch's."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        mean, var = (torch.empty(x.shape[1], dtype=dtype, device=x.device).fill_(start) for start in (0, 1))
        # Momentum 1 leaves this batch's statistics in the two: far faster on a CPU than torch.var_mean.
        F.batch_norm(x, mean, var, training=True, momentum=1.0)
        count = x.numel() // x.shape[1]
        var *= (count - 1) / count  # the kernel's is unbiased
        running_std = torch.sqrt(self.running_var.to(dtype) + self.eps)
        r_max, d_max = self.limits()
        r = torch.clamp(torch.sqrt(var + self.eps) / running_std, 1 / r_max, r_max)
        d = torch.clamp((mean - self.running_mean.to(dtype)) / running_std, -d_max, d_max)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)
        return r, d

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        if not self.training:
            return super().forward(x)
        r, d = self._correction(x)
        weight = self.weight.to(r.dtype)
        # r and d fold into the affine, so that one fused kernel does forward and backward.
        return F.batch_norm(x, None, None, weight * r, weight * d + self.bias, True, 0.0, self.eps)

    def extra_repr(self) -> str:
        """What ``print(module)`` shows in brackets."""
        ramp = f"start={self.start}, r_end={self.r_end}, d_end={self.d_end}"
        return f"{super().extra_repr()}, r_max={self.r_max}, d_max={self.d_max}, {ramp}"
