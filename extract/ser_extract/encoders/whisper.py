"""The encoder of Whisper (Radford et al. 2022), any size; the decoder is dropped after loading.

It always sees a fixed window: 30 s of log-mel, zero-padded behind the utterance, 1,500 positions, 50 frames per second. Kept
are the utterance's own `ceil(samples / 320)` frames. Longer audio goes in overlapping 30 s windows. The window costs the
same for 1 s as for 30 s; `--context SECONDS` shortens it for everybody (positions and mel are cut to it): several times
faster on short utterances, but other features, so it is declared in the fingerprint. The last hidden state has been through
the final norm, as in transformers; the others have not.
"""

from ser_extract.encoders.base import (
    CORE_FLOPS,
    Description,
    Engine,
    EngineOptions,
    InputOptions,
    Modality,
    Windowing,
    block_flops,
)
from ser_extract.encoders.source import Source
from ser_extract.encoders.stated import CONFIG, PREPROCESSOR, Whisper, WhisperExtractor
from ser_extract.errors import EncoderBroken

PREPROCESSING = 1
HALVING = 2  # stride of the second convolution: mel frames per encoder frame


def read_stated(source: Source) -> tuple[Whisper, WhisperExtractor]:
    """Config and extractor; the extractor makes the mel bins that the config wants.

    Raises:
        EncoderBroken: One of the two is wrong, or they do not fit each other.
    """
    config = Whisper.of(source.config, source.name, CONFIG)
    extractor = WhisperExtractor.of(source.preprocessor(), source.name, PREPROCESSOR)
    bins = config.num_mel_bins
    if extractor.feature_size not in (None, bins):
        raise EncoderBroken(
            source.name,
            f"its preprocessor_config.json makes {extractor.feature_size} mel bins (feature_size), "
            f"its config.json wants {bins} (num_mel_bins)",
            "Copy both files from the same repository.",
        )
    return config, extractor.model_copy(update={"feature_size": bins})


class WhisperFamily:
    """Whisper's encoder as a family."""

    modality: Modality = "audio"

    def describe(self, source: Source, options: InputOptions) -> Description:
        config, extractor = read_stated(source)
        rate, step = extractor.sampling_rate, extractor.hop_length * HALVING
        depth, width, own = config.encoder_layers, config.d_model, config.max_source_positions
        wanted = own if options.context_seconds is None else round(options.context_seconds * rate) // step
        positions = max(min(wanted, own), 1)
        overlap = min(int(options.overlap_seconds * rate) // step, positions // 4) * step
        windowing = Windowing("samples", positions * step, overlap)
        return Description(
            modality="audio",
            family="whisper",
            depth=depth,
            features=width,
            rate=rate,
            frame_rate=rate / step,
            shortest=1,
            frames=lambda samples: -(-samples // step),
            cost=lambda samples: -(-samples // (positions * step)) * depth * block_flops(positions, width) / CORE_FLOPS,
            windowing=windowing,
            final_norms=frozenset({depth}),
            declared={
                "preprocessing": PREPROCESSING,
                "rate": rate,
                "context": {"seconds": positions * step / rate, "own": positions == own},
                "windowing": {"unit": "samples", "length": windowing.length, "overlap": windowing.overlap},
            },
        )

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        from ser_extract.encoders.whisper_engine import load

        return load(source, description, layers, options)


FAMILY = WhisperFamily()
