"""The commands of stage two. Nothing heavy is loaded before a command runs."""
