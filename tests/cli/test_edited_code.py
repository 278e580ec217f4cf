"""The same command after the code behind a model changed: it stops with one line that names the file."""

from __future__ import annotations

import json

NET = """from torch import nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, width, 3), nn.Linear(width, 10)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean((2, 3)))
"""
FILES = {
    "registry.yaml": 'models: {mine: {builder: "mine:net", kwargs: {width: width.txt}}}\n',
    "mine.py": "from importlib import import_module\n\n\ndef net(width, num_classes, in_channels):\n"
    "    return import_module('resnet').Net(int(open(width).read()))\n",
    "resnet.py": NET,
    "width.txt": "8",
}


def test_code_behind_an_adapter(inline_cli, tiny) -> None:
    """In the adapter's own network and in a file that its arguments name; a result of an older zoo still counts."""
    folder = inline_cli.folder
    for name, text in FILES.items():
        (folder / name).write_text(text)
    command = ("bench", "mine", *tiny)
    inline_cli.ok(*command)
    (path,) = folder.glob("runs/**/result.json")
    for name, text in (("resnet.py", NET.replace("nn.ReLU()", "nn.LeakyReLU()")), ("width.txt", "9")):
        (folder / name).write_text(text)
        output = inline_cli(*command)
        assert output.returncode == 2
        assert f"was made with another definition of mine: {name} has changed; give --restart" in output.lines[-1]
        (folder / name).write_text(FILES[name])
    (folder / "resnet.py").write_text(NET + "# edited\n")
    evaluated = inline_cli("evaluate", "runs")
    assert evaluated.returncode == 2
    where = f"another definition of mine ({folder}/registry.yaml:1): resnet.py has changed; put back what it was"
    assert where in evaluated.lines[-1]
    (folder / "resnet.py").write_text(NET)

    result = json.loads(path.read_text())
    assert set(result["model"]["definition"].pop("code")) == {"mine.py", "resnet.py"}
    assert set(result["model"]["definition"].pop("data")) == {"width.txt"}
    path.write_text(json.dumps(result))
    assert "was done before" in inline_cli.ok(*command, "--seeds", "2").stderr
    (group,) = json.loads(inline_cli.ok("compare", "--format", "json").stdout)
    assert [row["seeds"] for row in group["rows"]] == [[0, 1]]  # of one model
