"""The pooled vector of any head, looked at or changed on its way into the classifier.

A head names the modules that its pooled vectors enter (``Head.classifiers``); while a tap is open a hook on each of them keeps
what comes in, and may put something else in its place. No head has to know about contrastive losses, mixup or ratings.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ser_fusion.heads.base import Head


@contextmanager
def tapped(head: Head, change: Callable[[Tensor], Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Within the block, the list fills with the pooled vectors (batch, width) of each forward pass, one per classifier.

    Args:
        head: Whose vectors.
        change: What the classifiers get instead; the list holds the vectors as they were.
    """
    seen: list[Tensor] = []

    def hook(module: nn.Module, given: tuple[Any, ...]) -> Any:
        seen.append(given[0])
        return None if change is None else (change(given[0]), *given[1:])

    hooks = [module.register_forward_pre_hook(hook) for module in head.classifiers()]
    try:
        yield seen
    finally:
        for one in hooks:
            one.remove()


def widths(head: Head) -> list[int]:
    """Width of each pooled vector of a head."""
    return [
        next(part.in_features for part in module.modules() if isinstance(part, nn.Linear))
        for module in head.classifiers()
    ]
