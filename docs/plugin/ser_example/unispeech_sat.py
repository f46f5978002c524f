"""UniSpeech-SAT (Chen et al. 2022): wav2vec 2.0's body, trained with speaker awareness."""

from ser_extract.encoders.speech import WaveformFamily

FAMILY = WaveformFamily("unispeech-sat", exact_mask=lambda config: True)
