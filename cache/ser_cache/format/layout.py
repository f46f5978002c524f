"""Where things lie in a cache, and what they are called.

```
CACHE/format.json  attachments/NAME  checksums/NAME/HASH-SIZE  withdrawn/0001.json|.copy
CACHE/witnesses/entries/0001-made|removed-ADDRESS  witnesses/withdrawn/0001.json
CACHE/entries/ADDRESS/entry.json  plans/0001.json|.copy  witnesses/plans/0001.json
                      commits/0001/00000012-0000.json  data/0001-00000012-UUID.zarr|.h5  quarantine/
```
"""

import re
import uuid
from pathlib import Path

FORMAT_NAME = "ser-cache"  # of format.json, in every cache
ADDRESS = re.compile(r"[a-z][a-z0-9_]*-.+-L[0-9]+-float(?:16|32)")
DATA_NAME = re.compile(r"[0-9]{4,9}-[0-9]{8}-[0-9a-f]{32}\.(?:zarr|h5)")
PLAN_NAME = re.compile(r"([0-9]{4,9})\.json")
COMMIT_NAME = re.compile(r"([0-9]{8})-([0-9]{4})\.json")
GENERATION_NAME = re.compile(r"[0-9]{4,9}")
REMOVED_NAME = re.compile(r"\.removed-[0-9a-f]{32}")
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.tmp")


def commit_path(entry: Path, generation: int, shard: int, revision: int) -> Path:
    return entry / "commits" / f"{generation:04d}" / f"{shard:08d}-{revision:04d}.json"


def new_data_name(generation: int, shard: int, suffix: str) -> str:
    """A name that no other writer can choose."""
    return f"{generation:04d}-{shard:08d}-{uuid.uuid4().hex}{suffix}"
