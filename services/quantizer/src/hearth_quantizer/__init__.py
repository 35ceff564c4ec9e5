"""hearth quantizer."""
