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

PREPROCESSING = 1
HALVING = 2  # stride of the second convolution: mel frames per encoder frame


class WhisperFamily:
    """Whisper's encoder as a family."""

    modality: Modality = "audio"

    def describe(self, source: Source, options: InputOptions) -> Description:
        config, extractor = source.config, source.preprocessor()
        rate, hop = int(extractor.get("sampling_rate", 16_000)), int(extractor.get("hop_length", 160))
        step, depth = hop * HALVING, int(config.get("encoder_layers", 4))
        own = int(config.get("max_source_positions", 1500))
        wanted = own if options.context_seconds is None else round(options.context_seconds * rate) // step
        positions = max(min(wanted, own), 1)
        overlap = min(int(options.overlap_seconds * rate) // step, positions // 4) * step
        windowing = Windowing("samples", positions * step, overlap)
        width = int(config.get("d_model", 384))
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
