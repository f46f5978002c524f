"""How much work goes into one shard: chosen once, before planning, and written into the plan.

A shard is what a commit saves and what a kill loses, so it should take about `COMMIT_SECONDS` of a worker's time. A small
corpus is cut finer, so that all workers are busy to the end; a very long one coarser, since each shard is a few files.
Costs are in seconds of a core of `CORE_FLOPS`; a short probe says how many of them a core of this machine does in a second.
"""

import time
from pathlib import Path

from ser_extract.encoders.base import CORE_FLOPS

COMMIT_SECONDS = 30.0
LONGEST_SECONDS = 120.0
MANY = 4_000
"""Shards of `COMMIT_SECONDS` that a stream may have; beyond it they grow, up to `LONGEST_SECONDS`."""
EACH = 4
"""Shards for each worker, where the corpus is too small for `COMMIT_SECONDS`."""
LEAST_SECONDS = 2.0
"""Below this a commit would cost more than the balance is worth."""
REACHED = 0.65
"""What engines reach of the probe's speed, at least (wav2vec 2.0 base 0.89, WavLM and Whisper 0.7)."""
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Flags of processors, x86 and ARM, whose products of bfloat16 are faster than those of float32."""
ACCELERATOR = 100.0
"""Pace of a GPU, roughly; there the bytes of a shard are the closer limit."""


def core_pace() -> float:
    """Cost that one core of this machine does in a second of its time: a matrix product, in 0.1 s of one thread."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    rows, width = 512, 768
    left, right = np.ones((rows, width), np.float32), np.ones((width, width), np.float32)
    out = np.empty_like(left)
    spent = []
    with threadpool_limits(1):
        for _ in range(8):
            began = time.thread_time()
            np.matmul(left, right, out=out)
            spent.append(time.thread_time() - began)
    return REACHED * 2.0 * rows * width * width / max(min(spent), 1e-6) / CORE_FLOPS


def shard_cost(cost: float, workers: int, pace: float) -> float:
    """The most that a shard may cost.

    Args:
        cost: Of all that is to be encoded.
        workers: Processes that share the work, on all machines together; at least 1.
        pace: Cost that one of them does in a second.
    """
    seconds = cost / pace
    longest = min(max(seconds / MANY, COMMIT_SECONDS), LONGEST_SECONDS)
    return round(min(max(seconds / (workers * EACH), LEAST_SECONDS), longest) * pace, 6)


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for products of bfloat16; where the system does not say, yes."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    flags = {
        word for line in text.splitlines() if line.lower().startswith(("flags", "features")) for word in line.split()
    }
    return not flags or not flags.isdisjoint(BFLOAT16)
