"""What a result is worth: metrics, reference rows, paired tests over speakers, leak audit. Nothing here trains a head."""
