"""BERT (Devlin et al. 2019) and all checkpoints of its type: MiniLM, most sentence encoders, ELECTRA's discriminator.

Post-norm: the output of block L is the hidden state L, no final norm. 512 positions; sentence encoders often state fewer in
their tokenizer's config (256 in all-MiniLM), which is then the window.
"""

from ser_extract.encoders.tokens import TextFamily

FAMILY = TextFamily("bert", lambda model: model.encoder.layer, packs=True)
ELECTRA = TextFamily("electra", lambda model: model.encoder.layer, packs=True)
