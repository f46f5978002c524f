"""Which hidden states are meant by `--layer`."""

from ser_extract.errors import LayerOutOfRange


def parse_layers(text: str, depth: int, *, name: str, modality: str) -> tuple[int, ...]:
    """`12`, `4,8,12`, `all`, `last`, or a list that mixes numbers and `last` -> layers in rising order, each once.

    Args:
        text: As typed.
        depth: Number of the encoder's blocks, and its last layer.
        name: Of the encoder, for the message.
        modality: Likewise.

    Raises:
        LayerOutOfRange: Not a layer of this encoder.
    """
    if text.strip() == "all":
        return tuple(range(depth + 1))
    found = set()
    for part in text.split(","):
        word = part.strip()
        if word == "last":
            found.add(depth)
        elif word.isdecimal() and int(word) <= depth:
            found.add(int(word))
        else:
            raise LayerOutOfRange(name, modality, word or "''", depth)
    return tuple(sorted(found))
