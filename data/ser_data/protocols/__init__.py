"""Protocols: who is tested on whom, as folds that do not leak. Each is a pure function from a manifest to folds."""

from typing import TYPE_CHECKING

import lazy_loader

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_data.protocols.base import Protocol

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

PROTOCOLS: "Catalog[Protocol]" = Catalog(
    "protocol",
    {
        "session": "ser_data.protocols.groups:SESSION",
        "speaker": "ser_data.protocols.groups:SPEAKER",
        "speaker-5": "ser_data.protocols.groups:SPEAKER_5",
        "scenario": "ser_data.protocols.groups:SCENARIO",
        "session+scenario": "ser_data.protocols.groups:SESSION_SCENARIO",
        "official": "ser_data.protocols.given:OFFICIAL",
        "official-5": "ser_data.protocols.given:OFFICIAL_5",
        "manifest": "ser_data.protocols.given:MANIFEST",
        "s3prl-er": "ser_data.protocols.given:S3PRL_ER",
        "emobox": "ser_data.protocols.given:EMOBOX",
        "corpus": "ser_data.protocols.corpora:CORPUS",
        "source-target": "ser_data.protocols.corpora:SOURCE_TARGET",
        "source-target+within": "ser_data.protocols.corpora:SOURCE_TARGET_WITHIN",
        "random": "ser_data.protocols.groups:RANDOM",
    },
)
