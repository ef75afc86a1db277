"""The package's README runs as it stands."""

import re
from pathlib import Path

import torch

README = Path(__file__).parents[2] / "packages/poselib/README.md"


def test_the_example_puts_every_character_on_the_ground():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    assert names["positions"].shape == (1024, 24, 3)
    again = names["models"].collision_points("smpl").lowest(names["positions"], names["rotations"])
    torch.testing.assert_close(again.amin(dim=-1), torch.zeros(1024), atol=1e-5, rtol=0)
