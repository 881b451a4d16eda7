"""Count qtrain's own families for the list that ``qtrain models`` prints; ``make results`` calls it."""

import json
from dataclasses import asdict
from pathlib import Path

from qtrain.experiments.zoo import SIZES, count_sizes
from qtrain.models import FAMILIES

FILE = Path(__file__).parents[1] / "models" / SIZES


def main() -> None:
    """Write the file, one line a family."""
    lines = [f'"{name}": {json.dumps(asdict(count_sizes(name)))}' for name in FAMILIES.built_in]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
