"""HuBERT (Hsu et al. 2021): wav2vec 2.0's body, trained on clustered units; base, large, x-large.

A few checkpoints put a batch norm before the positional convolution (`conv_pos_batch_norm`); it makes non-zero values of
masked padding, so those go in batches of equal length only.
"""

from ser_extract.encoders.waveform import WaveformFamily

FAMILY = WaveformFamily("hubert", exact_mask=lambda config: not config.get("conv_pos_batch_norm", False))
