"""What ``simulate abdomen`` and ``simulate anatomies`` do: torsos as images and as tissue maps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriforge.events import Events

if TYPE_CHECKING:
    from mriforge.jobs.simulate_options import Options

INDEX = "anatomies.json"
_HELD_OUT = (10, 9)
"""Seeds that leave this remainder are for validation."""


def abdomen(options: Options, events: Events) -> dict[str, Any]:
    """One torso: its image, and where asked for its organ labels and its tissues."""
    import numpy as np

    from mriforge.io import write
    from mriforge.phantoms.abdomen import draw
    from mriforge.segment.doubts import volumes_ml
    from mriforge.synthesis import render
    from mriforge.volume import Volume

    events.progress(0.0, "drawing the torso")
    tissues = draw(options.seed, spacing=options.spacing, breath=options.breath)
    events.check_cancelled()
    events.progress(0.4, "taking its picture")
    contrast = options.seed if options.contrast is None else options.contrast
    image = render(tissues, np.random.default_rng([contrast, 1]))
    about = {"source": "simulated", "seed": options.seed, "contrast": contrast}
    image = image.with_array(image.array, **about)
    events.check_cancelled()
    events.progress(0.8, "writing")
    files = {
        "labels": (options.labels, tissues.labels()),
        "tissues": (options.tissues, tissues.array),
    }
    for path, array in files.values():
        if path is not None:
            write(Volume(array, tissues.grid, about), path)
    write(image, options.output)
    return {
        "output": options.output,
        **{name: path for name, (path, _) in files.items() if path is not None},
        "matrix": list(tissues.grid.stored_shape),
        "spacing_mm": list(tissues.grid.spacing),
        "volumes_ml": volumes_ml(tissues.labels(), tissues.grid),
    }


def anatomies(options: Options, events: Events) -> dict[str, Any]:
    """A folder of tissue maps to learn from; what is there already is kept."""
    from mriforge.io import write
    from mriforge.phantoms.abdomen import draw
    from mriforge.volume import Volume

    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    lines, made = [], 0
    for number in range(options.count):
        events.check_cancelled()
        events.progress(number / options.count, f"torso {number + 1} of {options.count}")
        seed = options.seed + number
        path = folder / f"anatomy_{seed:06d}_{options.spacing:g}mm.nii.gz"
        if not path.is_file():
            tissues = draw(seed, spacing=options.spacing, breath=options.breath)
            about = {"source": "simulated", "seed": seed}
            write(Volume(tissues.array, tissues.grid, about), path)
            made += 1
        split = "validation" if seed % _HELD_OUT[0] == _HELD_OUT[1] else "train"
        lines.append({"path": path.name, "subject": f"abdomen-{seed}", "split": split,
                      "seed": seed, "spacing_mm": options.spacing})  # fmt: skip
    write_index(folder / INDEX, lines)
    return {"output": options.output, "anatomies": len(lines), "made": made}


def write_index(path: Path, lines: list[dict[str, Any]]) -> None:
    """Names of all maps, in one piece."""
    from mriforge.io.atomic import atomic_path

    with atomic_path(path) as partial:
        text = json.dumps({"anatomies": lines}, indent=1)
        Path(partial).write_text(text + os.linesep, encoding="utf-8")
