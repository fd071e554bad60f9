"""Devices: chosen by trying, described, and what running out of memory looks like."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from mriforge import allocator
from mriforge.device import GIB, choose_device, describe, free_memory, is_out_of_memory, release
from mriforge.device import trouble as device_trouble
from mriforge.errors import BadInput


def test_auto_finds_a_device_that_computes() -> None:
    device = choose_device("auto")
    assert device_trouble(device) is None


def test_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(torch.device("cpu")).type == "cpu"
    assert 2**20 < free_memory("cpu") < 2**50
    assert "GiB free" in describe("cpu")
    release("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="not known"):
        choose_device(name)


def test_a_device_that_does_not_work_is_refused() -> None:
    with pytest.raises(BadInput, match="does not work"):
        choose_device("cuda:99")


def test_auto_skips_a_device_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("mriforge.device._free_or_zero", lambda device: GIB)
    monkeypatch.setattr(
        "mriforge.device.trouble", lambda d: "driver too old" if d.type == "cuda" else None
    )
    assert choose_device("auto").type != "cuda"


def test_out_of_memory_is_recognised() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_allocator_is_tuned_only_when_asked_and_can_be_refused() -> None:
    code = (
        "import sys; from mriforge import allocator; done = allocator.tune();"
        "sys.exit(0 if done == (sys.argv[1] == 'yes') else 1)"
    )
    linux = sys.platform.startswith("linux") and hasattr(os, "confstr")
    glibc = linux and "CS_GNU_LIBC_VERSION" in os.confstr_names
    for setting, wanted in (("default", "no"), ("", "yes" if glibc else "no")):
        environment = {**os.environ, allocator.SWITCH: setting}
        command = [sys.executable, "-c", code, wanted]
        assert subprocess.run(command, env=environment, timeout=60).returncode == 0
