"""Experiments are functions: they know neither Hydra nor a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import harness.experiments


@pytest.mark.e2e
def test_experiments_load_neither_hydra_nor_rich() -> None:
    modules = [path.stem for path in Path(harness.experiments.__file__).parent.glob("*.py")]
    lines = [f"import harness.experiments.{name}" for name in modules if name != "__init__"]
    lines.append("import sys; print({'hydra', 'omegaconf', 'rich'} & set(sys.modules))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
