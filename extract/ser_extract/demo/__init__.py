"""The encoders of the demo, from the package registry."""
