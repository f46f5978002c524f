"""Perturbed copies of a corpus: noise, reverberation, codecs; for robustness rows and for augmentation."""
