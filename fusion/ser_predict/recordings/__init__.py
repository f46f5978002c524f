"""From recordings to posteriors: decode, transcribe, cut into windows, encode, predict."""
