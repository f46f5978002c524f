"""Trained heads for elsewhere: ONNX, and folders in the layout of the Hugging Face hub. Command ``ser export``."""
