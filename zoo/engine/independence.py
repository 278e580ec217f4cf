"""Whether the answer to an image in evaluation depends on the images beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.builder.fairness import distance, largest
from zoo.utils.device import in_float64
from zoo.utils.seeding import same_random_numbers

COARSE, FINE = 2.0**-23, 2.0**-40  # changes of the images: the rounding of float32, and one that float64 alone resolves
ROUNDINGS = 64  # answers may differ by so many times what rounding the images in float32 changes
# In the precision of a run: a change of the images that is one rounding of its numbers, how many times what it changes
# in answers two batches may differ, and by which share of the largest logit even where it changes nothing.
ROUNDING = {"fp32": 2.0**-23, "bf16": 2.0**-8, "fp16": 2.0**-11}
_TIMES, _LEAST = {"fp32": 64, "bf16": 8, "fp16": 8}, {"fp32": 1e-4, "bf16": 2.0**-6, "fp16": 2.0**-9}
FLOAT64, FLOAT32 = 1e-9, 1e-5  # of the largest logit: rounding, even where a change of the images changes nothing


def dependence_on_batch(module: nn.Module, images: Tensor) -> float:
    """How much the answers of `module` in eval mode to (N, C, H, W) `images` change with the batch that they are in.

    The difference is a share of the largest logit, and 0 where it is no more than rounding. The answers are those to
    all images together, to the first and the last alone, and to more than two in the reverse order. float64 decides,
    where the module computes in it: else what rounding changes is found by rounding the images. `module` is used up.
    """
    module.eval()
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]

    def answers(pixels: Tensor) -> Tensor:
        for (_, before), buffer in zip(kept, module.buffers(), strict=True):  # each begins with the same state
            buffer.copy_(before)
        torch.manual_seed(0)
        logits: Tensor = module(pixels)
        return in_float64(logits)

    with torch.no_grad(), same_random_numbers():
        try:
            images, _ = images.double(), module.double()
            together, precise = answers(images), True
        except Exception:  # a dtype that is written into the code
            images, _ = images.float(), module.float()
            together, precise = answers(images), False

        signs = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)).to(images) * 2 - 1

        def change(size: float) -> float:
            return distance(answers(images * (1 + size * signs)), together)

        difference = distance(torch.cat([answers(images[:1]), answers(images[-1:])]), together[[0, -1]])
        if len(images) > 2:  # of two, each was alone
            difference = max(difference, distance(answers(images.flip(0)).flip(0), together))
        scale = largest(together)
        if not difference > FLOAT64 * scale:
            return 0.0
        coarse, fine = change(COARSE), change(FINE) if precise else 0.0
    if precise and fine < coarse / 2**10:  # float64 all the way
        rounding = max(FLOAT64 * scale, fine)
    else:
        rounding = max(FLOAT32 * scale, ROUNDINGS * max(coarse, fine))
    return difference / scale if difference > rounding else 0.0


def share_beyond_rounding(together: Tensor, alone: Tensor, rounded: Tensor, precision: str) -> float:
    """How much logits of some images in a larger batch differ from those of the same images alone, in the `precision`
    of the run; 0 where it is no more than rounding, which is judged by the logits of images changed by
    :data:`ROUNDING`. A share of the largest logit.
    """
    scale = largest(together)
    difference, rounding = distance(together, alone), _TIMES[precision] * distance(rounded, alone)
    return difference / scale if difference > max(rounding, _LEAST[precision] * scale) else 0.0
