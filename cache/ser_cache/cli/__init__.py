"""The command for caches. Nothing heavy is loaded before it runs."""
