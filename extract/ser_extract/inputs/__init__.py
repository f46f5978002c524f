"""From a corpus to what is encoded: streams, layers, items and their hashes."""
