"""The cores that a process may use, and what the processor is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from zoo.utils import cpu
from zoo.utils.cpu import cpu_name, usable_cores


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 8),  # more than there are
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
            },
            4,
        ),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, 8),
    ],
)
def test_a_container_has_the_cores_that_its_quota_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\nflags\t: fpu\n\n"


def arm(*cores: tuple[str, str]) -> str:
    """What Linux has in /proc/cpuinfo of such cores, by implementer and part."""
    parts = (f"CPU implementer\t: {maker}\nCPU architecture: 8\nCPU part\t: {part}\n" for maker, part in cores)
    return "".join(f"processor\t: {n}\nFeatures\t: fp asimd bf16\n{text}\n" for n, text in enumerate(parts))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (X86 * 2, "Intel(R) Xeon(R) CPU @ 2.20GHz"),
        (arm(*[("0x41", "0xd40")] * 4), "ARM Neoverse-V1"),
        (arm(("0x41", "0xd03"), ("0x41", "0xd08")), "ARM Cortex-A53 + ARM Cortex-A72"),
        (arm(*[("0x61", "0x023")] * 2, ("0x61", "0x022")), "ARM 0x61 part 0x023 + ARM 0x61 part 0x022"),
        ("model name : ARMv8 Processor rev 1 (v8l)\n" + arm(("0xc0", "0xac3")), "Ampere-1"),
    ],
)
def test_a_processor_under_linux_has_its_name_or_implementer_and_part(
    monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    monkeypatch.setattr(cpu, "_cpu_info", lambda: text)
    assert cpu_name() == name


def test_every_mac_has_the_name_of_its_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not `arm`, as all were called; that only where the system does not answer."""
    monkeypatch.setattr(cpu, "_cpu_info", lambda: "")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    answers = iter(["Apple M1\n", "Apple M4 Pro\n"])

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command == ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.CompletedProcess(command, 0, next(answers))

    monkeypatch.setattr("subprocess.run", run)
    assert [cpu_name(), cpu_name()] == ["Apple M1", "Apple M4 Pro"]

    def missing(*command: object, **options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("subprocess.run", missing)
    assert cpu_name() == "arm"


def test_a_processor_under_windows_has_the_name_in_its_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Key:
        def __enter__(self) -> Key:
            return self

        def __exit__(self, *problem: object) -> None: ...

    registry = ModuleType("winreg")
    registry.HKEY_LOCAL_MACHINE = "HKLM"
    registry.OpenKey = lambda root, path: {r"HARDWARE\DESCRIPTION\System\CentralProcessor\0": Key()}[path]
    registry.QueryValueEx = lambda key, name: {"ProcessorNameString": ("AMD Ryzen 9 7950X  ", 1)}[name]
    monkeypatch.setitem(sys.modules, "winreg", registry)
    monkeypatch.setattr(cpu, "_cpu_info", lambda: "")
    monkeypatch.setattr(sys, "platform", "win32")
    assert cpu_name() == "AMD Ryzen 9 7950X"
