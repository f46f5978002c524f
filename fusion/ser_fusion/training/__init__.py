"""Training of one head on one fold with one seed: the loop, its schedules, presets and losses."""
