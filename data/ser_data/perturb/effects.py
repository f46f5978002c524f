"""What can be done to speech: noise at a signal-to-noise ratio, a synthetic room, a codec. Same input and seed, same output.

The order is nature's: the room first, then noise at the microphone, then the codec of the line.

Sources: SNR as the ratio of mean powers over the whole utterance; a room as white noise under an exponential decay of 60 dB
in the reverberation time (Moorer 1979, Polack 1988). Its direct path is at most 6 dB above the reverberation's energy. Codecs
are libsndfile's.
"""

import io
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

Samples = NDArray[np.float32]

CODECS: Final[dict[str, tuple[str, str, int | None]]] = {
    "mp3": ("MP3", "MPEG_LAYER_III", None),
    "ogg": ("OGG", "VORBIS", None),
    "opus": ("OGG", "OPUS", None),
    "gsm": ("WAV", "GSM610", 8_000),
    "ulaw": ("WAV", "ULAW", 8_000),
    "alaw": ("WAV", "ALAW", 8_000),
}
"""Codec -> libsndfile's container and coding, and the rate of the line where the codec has its own (telephony)."""

NOISES: Final = ("white", "pink")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What is done to every utterance.

    Attributes:
        snr: Signal-to-noise ratio in dB, or None for no noise.
        noise: ``white`` or ``pink`` (power falls by 3 dB per octave).
        reverb: Reverberation time in seconds (60 dB), or None for no room.
        codec: A name of ``CODECS``, or None.
        quality: Compression of mp3, ogg and opus, 0 (best) to 1 (smallest); None for libsndfile's own choice.
        seed: Of noise and rooms; every utterance has its own.
    """

    snr: float | None = None
    noise: str = "white"
    reverb: float | None = None
    codec: str | None = None
    quality: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """Short and fit for an id: ``reverb0.5-snr10-mp3``."""
        parts = [f"reverb{self.reverb:g}"] if self.reverb else []
        if self.snr is not None:
            parts.append(f"snr{self.snr:g}" + ("" if self.noise == "white" else self.noise))
        return "-".join([*parts, *([self.codec] if self.codec else [])])

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def perturb(samples: Samples, rate: int, effects: Effects, utterance: str) -> Samples:
    """One utterance, perturbed.

    Args:
        samples: Mono audio in -1..1, (samples,).
        rate: Hz.
        effects: What to do.
        utterance: Its id: decides, with the seed, which noise and which room.

    Returns:
        float32 (samples,), of the same length; scaled down as a whole where it would leave -1..1.
    """
    draw = np.random.default_rng([effects.seed, xxhash.xxh3_64_intdigest(utterance.encode())])
    out = samples
    if effects.reverb:
        out = reverberate(out, rate, effects.reverb, draw)
    if effects.snr is not None:
        out = add_noise(out, effects.snr, effects.noise, draw)
    out = _within(out)
    if effects.codec:
        out = _within(through_codec(out, rate, effects.codec, effects.quality))
    return out


def _within(samples: Samples) -> Samples:
    top = float(np.abs(samples).max(initial=0.0))
    return (samples / top).astype(np.float32) if top > 1.0 else samples


def add_noise(samples: Samples, snr: float, kind: str, draw: np.random.Generator) -> Samples:
    """Noise such that the mean power of the speech is ``snr`` dB above the noise's."""
    noise = draw.standard_normal(len(samples))
    if kind == "pink" and len(noise) > 1:
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[0] = 0.0
        noise = np.fft.irfft(spectrum, len(samples))
    speech = np.square(samples, dtype=np.float64).mean()
    power = max(float(np.square(noise).mean()), 1e-20)
    scaled: Samples = (samples + noise * np.sqrt(speech / power / 10 ** (snr / 10))).astype(np.float32)
    return scaled


def room(rate: int, seconds: float, draw: np.random.Generator) -> NDArray[np.float64]:
    """Impulse response of a made-up room: a direct path, then white noise that has lost 60 dB after ``seconds``."""
    length = max(2, round(seconds * rate))
    decay = 10.0 ** (-3.0 * np.arange(length) / length)
    response = draw.standard_normal(length) * decay
    response[0] = 0.0
    response /= np.sqrt(np.square(response).sum())
    response[0] = 1.0  # as much energy as all reflections together
    out: NDArray[np.float64] = response
    return out


def reverberate(samples: Samples, rate: int, seconds: float, draw: np.random.Generator) -> Samples:
    """The utterance in a made-up room, cut to its own length, as loud as before."""
    from scipy.signal import fftconvolve

    wet = fftconvolve(samples.astype(np.float64), room(rate, seconds, draw))[: len(samples)]
    before, after = np.square(samples, dtype=np.float64).mean(), np.square(wet).mean()
    loud: Samples = (wet * np.sqrt(before / max(float(after), 1e-20))).astype(np.float32)
    return loud


def through_codec(samples: Samples, rate: int, codec: str, quality: float | None = None) -> Samples:
    """The utterance encoded and decoded; cut or filled with zeros to its own length.

    Raises:
        ValueError: libsndfile on this machine cannot write the codec, or not at this rate.
    """
    import soundfile

    from ser_data.media.resampling import resample

    container, coding, line = CODECS[codec]
    narrow = samples if line is None else resample(samples, rate, line)
    options = {} if quality is None or line is not None else {"compression_level": quality}
    memory = io.BytesIO()
    try:
        soundfile.write(memory, narrow, line or rate, format=container, subtype=coding, **options)
        memory.seek(0)
        decoded, _ = soundfile.read(memory, dtype="float32")
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"{codec} at {line or rate:,} Hz: {error}") from error
    back = decoded if line is None else resample(decoded, line, rate)
    out = np.zeros(len(samples), dtype=np.float32)
    count = min(len(back), len(samples))
    out[:count] = back[:count]
    return out
