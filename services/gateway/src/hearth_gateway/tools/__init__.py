"""Tools that the gateway runs for the model. A file per noun; `types.py` has the ones that all share."""
