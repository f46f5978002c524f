"""Valence, arousal and dominance: learned beside the classes (``--vad-weight``) or alone (``--task vad``)."""
