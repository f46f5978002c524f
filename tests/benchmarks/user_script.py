"""The 60 lines one would write without this project; bench_commands.py times them beside its commands.

`user_script.py train FOLDER EPOCHS`   padded batches, nn.MultiheadAttention over both streams, one session held out at a time
`user_script.py extract FOLDER ENCODER`   transformers at batch size 1 on all cores, one .npy for each utterance
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

torch.set_num_threads(1)  # as ours: one thread a process


class Net(nn.Module):
    def __init__(self, audio: int, text: int, classes: int) -> None:
        super().__init__()
        self.audio, self.text = nn.Linear(audio, 128), nn.Linear(text, 128)
        self.hears, self.reads = (nn.MultiheadAttention(128, 4, batch_first=True) for _ in range(2))
        self.out = nn.Linear(256, classes)

    def forward(self, audio, text, audio_mask, text_mask):
        a, t = self.audio(audio), self.text(text)
        x, _ = self.hears(a, t, t, key_padding_mask=~text_mask)
        y, _ = self.reads(t, a, a, key_padding_mask=~audio_mask)
        pooled = [(z * m[..., None]).sum(1) / m.sum(1, keepdim=True) for z, m in ((x, audio_mask), (y, text_mask))]
        return self.out(torch.cat(pooled, 1))


def batch(folder: Path, rows: pd.DataFrame):
    padded = []
    for stream in ("audio", "text"):
        frames = [torch.from_numpy(np.load(folder / stream / f"{name}.npy")).float() for name in rows["id"]]
        lengths = torch.tensor([len(one) for one in frames])
        padded.append((pad_sequence(frames, batch_first=True), torch.arange(lengths.max())[None] < lengths[:, None]))
    (audio, audio_mask), (text, text_mask) = padded
    return audio, text, audio_mask, text_mask


def train(folder: Path, epochs: int) -> None:
    table = pd.read_csv(folder / "table.csv")
    table["y"] = table["label"].astype("category").cat.codes
    sizes = [np.load(folder / s / f"{table['id'][0]}.npy").shape[1] for s in ("audio", "text")]
    right = []
    for session in sorted(table["session"].unique()):
        seen, held = table[table["session"] != session], table[table["session"] == session]
        net = Net(*sizes, table["y"].nunique())
        optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
        for epoch in range(epochs):
            order = seen.sample(frac=1, random_state=epoch)
            for start in range(0, len(order), 32):
                rows = order[start : start + 32]
                loss = nn.functional.cross_entropy(net(*batch(folder, rows)), torch.tensor(rows["y"].to_numpy()).long())
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        net.eval()
        with torch.no_grad():
            for start in range(0, len(held), 32):
                rows = held[start : start + 32]
                right += (net(*batch(folder, rows)).argmax(1).numpy() == rows["y"].to_numpy()).tolist()
    print("WA", np.mean(right))


def extract(folder: Path, encoder: str) -> None:
    import os

    import soundfile
    from transformers import AutoFeatureExtractor, AutoModel

    torch.set_num_threads(os.cpu_count() or 1)
    model, extractor = AutoModel.from_pretrained(encoder).eval(), AutoFeatureExtractor.from_pretrained(encoder)
    (folder / "features").mkdir(exist_ok=True)
    for name, path in pd.read_csv(folder / "corpus.csv")[["id", "path"]].itertuples(index=False):
        wave, rate = soundfile.read(folder / path, dtype="float32")
        with torch.inference_mode():
            out = model(**extractor(wave, sampling_rate=rate, return_tensors="pt")).last_hidden_state
        np.save(folder / "features" / f"{name}.npy", out[0].half().numpy())


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        extract(Path(sys.argv[2]), sys.argv[3])
