"""Two encoders of one's own: log-mel energies of speech, and letters of a text. No weights, no transformers."""

import numpy as np


class LogMel:
    """40 log-mel energies, 100 frames a second."""

    name, modality, layers, features = "log-mel", "audio", 1, 40
    rate, frame_rate, shortest = 16_000, 100.0, 400
    identity = "htk mel, 400 samples, no padding, version 1"

    def __init__(self, device):
        import torch
        from torchaudio.transforms import MelSpectrogram

        self.mel = MelSpectrogram(16_000, n_fft=400, hop_length=160, n_mels=40, center=False).to(device)
        self.tensor = lambda values: torch.as_tensor(values, device=device)

    def frames(self, waveform):
        energies = self.mel(self.tensor(waveform)).clamp(min=1e-10).log()
        return energies.T[None].cpu().numpy()  # (layers, frames, features)


class Letters:
    """One frame per character: a one-hot vector of 32 classes. The first frame is the mean, for `--text-pooling cls`."""

    name, modality, layers, features = "letters", "text", 1, 32
    identity = "code point modulo 32, version 1"

    def __init__(self, device):
        self.classes = np.eye(32, dtype=np.float32)

    def frames(self, text):
        states = self.classes[[ord(letter) % 32 for letter in text]]
        states = np.concatenate([states.mean(0, keepdims=True), states])
        return states[None], np.arange(len(states)) == 0  # the mean is a special token
