"""The live page: a microphone or a file in, the heads' answers as they come. Command ``ser live``."""
