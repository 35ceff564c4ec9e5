"""hearth engine."""
