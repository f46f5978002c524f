"""WavLM (Chen et al. 2022): wav2vec 2.0's body with gated relative position bias; base, base-plus, large.

The bias is made in the first block and handed on, so an early exit keeps it.
"""

from ser_extract.encoders.waveform import WaveformFamily

FAMILY = WaveformFamily("wavlm", exact_mask=lambda config: True)
