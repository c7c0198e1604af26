"""``engine=torch``: the model runs in this process."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.engines.setting import Engine, NoModel, Setting
from harness.errors import ConfigError
from harness.validation import require, require_number, require_one_of


@dataclass
class TorchOptions:
    device: str = "cpu"  # cpu | cuda | cuda:N | mps
    dtype: str = "float32"  # float32 | bfloat16 | float16
    threads: int | None = None  # intra-op CPU threads; None: torch's own choice
    # The rest is for the Voxtral engines; what is resolved stands in environment.json.
    cuda_graphs: bool | None = None  # replay captured steps; None: yes on CUDA, no elsewhere
    compile: bool = False  # fuse each step with torch.compile; needs a C compiler on the machine
    batching: bool | None = None  # live: step due sessions together; None: yes. turn: not there

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"cpu|mps|cuda(:\d+)?", self.device) is not None,
            "engine.device", self.device, "cpu, cuda, cuda:N, mps",
        )  # fmt: skip
        require_one_of("engine.dtype", self.dtype, ("float32", "bfloat16", "float16"))
        if self.threads is not None:
            require_number("engine.threads", self.threads, 1)

    def load(self, setting: Setting) -> Engine:
        """The engine of ``setting.model``.

        Raises:
            ConfigError: no model, or options that this model does not know.
            WeightsError, DeviceError: what was asked for is not there.
        """
        if isinstance(setting.model, NoModel):
            raise ConfigError("engine=torch needs a model", hint="add model=whisper_tiny_en")
        engine: Engine = setting.model.load(self, setting)
        return engine
