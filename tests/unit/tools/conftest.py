from pathlib import Path

TINY = Path(__file__).parents[3] / "models/tiny/model"
