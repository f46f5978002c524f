"""Stage one of SER Fusion: frame embeddings of frozen speech and text encoders, written to a feature cache once.

```python
from pathlib import Path
from ser_extract import ExtractJob, run
run(ExtractJob(corpus="csv", root=Path("corpus.csv"), cache=Path("runs/cache"), audio_layer="12"))
```
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
