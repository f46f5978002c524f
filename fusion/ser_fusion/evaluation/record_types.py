"""Types of the fields of `ser_fusion.evaluation.records`: what a name, a size, a score may be."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

LARGEST = 1 << 24
"""Greatest size of anything in a head."""


def _inside(slug: str) -> str:
    if re.search(r"[/\\\x00-\x1f]", slug) or slug.startswith("."):
        raise ValueError("a row's slug names a folder of the run itself")
    return slug


Slug = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_inside)]
Size = Annotated[int, Field(ge=1, le=LARGEST)]
Number = float | None
Scores = dict[str, Number]


Key = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""The name of a stored probe: it becomes a file's name."""
