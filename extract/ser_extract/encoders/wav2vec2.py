"""wav2vec 2.0 (Baevski et al. 2020): base, large, XLS-R, and every checkpoint fine-tuned from them.

Base models normalise over time in the first convolution (masked here); large and XLS-R models normalise before each block
and have one more norm behind the last, which is not part of the last state here, whatever transformers is installed. Features:
768 (base), 1024 (large), 1280 or 1920 (XLS-R); 49.95 frames per second, receptive field 400 samples.
"""

from ser_extract.encoders.waveform import WaveformFamily

FAMILY = WaveformFamily("wav2vec2", exact_mask=lambda config: True)
