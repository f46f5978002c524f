"""Stage one of SER Fusion: frame embeddings of frozen speech and text encoders, written to a feature cache once.

```python
from pathlib import Path
from ser_extract import ExtractJob, run
run(ExtractJob(corpus="csv", root=Path("corpus.csv"), cache=Path("runs/cache"), audio_layer="12"))
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_extract.encoders import ENCODERS
    from ser_extract.errors import ExtractError
    from ser_extract.job import ExtractJob
    from ser_extract.run import Result, run

_HOME = {
    "ENCODERS": "encoders",
    "ExtractError": "errors",
    "ExtractJob": "job",
    "Result": "run",
    "run": "run",
}

__all__ = ["ENCODERS", "ExtractError", "ExtractJob", "Result", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ser_extract' has no attribute {name!r}")
    return getattr(import_module(f"ser_extract.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
