"""Test-time augmentation: logits averaged over an image, its mirror image, and translations of both."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor  # a recipe is read without it


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Logits are averaged over the image and its `mirror` image, and with `shift` over translations.

    Translations are by `shift` pixels to the lower right and to the upper left, with edges reflected. Weights are 1/2
    (original), 1/4 and 1/4. As in Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498.
    """

    mirror: bool = False
    shift: int = 0

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TestTimeAugmentation:
        """That of a recipe, by its canonical content."""
        return cls(bool(content.get("mirror_evaluation")), content.get("shifted_evaluation") or 0)

    @property
    def passes(self) -> int:
        """Forward passes per image."""
        return (1 + self.mirror) * (3 if self.shift else 1)

    @property
    def words(self) -> str | None:
        """What the mean is over, for people; None without test-time augmentation."""
        if self == NO_AUGMENTATION:
            return None
        copies = ["its mirror image"] * self.mirror
        copies += [f"{'both' if self.mirror else 'itself'} moved {self.shift} px along a diagonal"] * (self.shift > 0)
        return f"mean over each image{',' if len(copies) > 1 else ' and'} {' and '.join(copies)}"

    def logits(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """The float32 logits (B, classes) of (B, C, H, W) `images`. H and W must be more than `shift`."""
        return functools.reduce(operator.add, (model(view).float() * weight for weight, view in self._weighted(images)))

    def _weighted(self, images: Tensor) -> Iterator[tuple[float, Tensor]]:
        moved = [(1.0, images)]
        if self.shift:
            import torch.nn.functional as F

            height, width = images.shape[2:]
            padded = F.pad(images, [self.shift] * 4, mode="reflect")
            corners = (padded[:, :, at : at + height, at : at + width].clone() for at in (0, 2 * self.shift))
            moved = [(0.5, images), *((0.25, corner) for corner in corners)]
        for weight, view in moved:
            if self.mirror:
                yield weight / 2, view
                yield weight / 2, view.flip(3)
            else:
                yield weight, view


NO_AUGMENTATION = TestTimeAugmentation()
