"""hearth gateway."""
