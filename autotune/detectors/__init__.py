"""Detectors: from a name, a factory or a pickled module to a model ready to train."""
