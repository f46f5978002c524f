"""data2vec-audio (Baevski et al. 2022): layer-normed convolutions and a stack of five positional convolutions.

Between the positional convolutions stands a layer norm, which makes non-zero values of padded frames that the next one
reads: no attention mask is exact, so utterances go one by one or in batches of equal length.
"""

from ser_extract.encoders.waveform import WaveformFamily

FAMILY = WaveformFamily("data2vec-audio", exact_mask=lambda config: False)
