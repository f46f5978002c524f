"""A cache on an object store: pushed from local directories and pulled into them.

The layout is that of a local cache. An object store has no links and no fsync, but it has one thing that a commit needs: a
PUT that only succeeds where nothing is (``If-None-Match: *``), whole or not at all. So a shard is computed and committed in a
local staging cache, its data go up under their unique names, and the conditional PUT of its commit record makes it exist;
whoever is second deletes its own data. Readers pull the entries they use into a local mirror and read that at full speed.
Shards are verified before they go up and after they came down.
"""

from ser_cache.exchange.pull import pull
from ser_cache.exchange.push import push
from ser_cache.exchange.store import CannotReach, Moved, RemoteConflict, RemoteDamaged, Store

__all__ = ["CannotReach", "Moved", "RemoteConflict", "RemoteDamaged", "Store", "pull", "push"]
