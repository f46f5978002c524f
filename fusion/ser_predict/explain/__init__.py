"""Explains why a head answered as it did, by streams, moments and words, beside a head that learned nothing."""
