"""Frames in memory: arrays of ragged rows, packed into batches, attended inside each utterance."""
