"""Stand-in for `PyTorchUtils`, the module of the PyTorch extension. It installs nothing.

`STATE` says what an installation on a user's machine is like; a test sets it with
`host.packages.set_torch`:

- `installed`: torch can be imported;
- `not installed`: `installTorch` succeeds, after which it is installed;
- `half installed`: an installation broke off; the real `torchInstalled` raises TypeError then;
- `cancel`: the user declines, so `installTorch` returns None;
- `fails`: pip ends with an error.

`CALLS` lists the keyword arguments of every `installTorch`.
"""

import importlib
import subprocess

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

STATES = ("installed", "not installed", "half installed", "cancel", "fails")
STATE = "installed"
CALLS = []


class PyTorchUtilsLogic(ScriptedLoadableModuleLogic):
    """What other modules use of the real logic."""

    @staticmethod
    def torchInstalled():
        """Say whether torch can be imported; raises TypeError for a broken installation."""
        if STATE == "half installed":
            raise TypeError("'NoneType' object is not iterable")
        return STATE == "installed"

    def installTorch(
        self,
        askConfirmation=False,
        forceComputationBackend=None,
        torchVersionRequirement=None,
        torchvisionVersionRequirement=None,
    ):
        """Return the torch module, or None when the user declines."""
        global STATE
        CALLS.append(
            {
                "askConfirmation": askConfirmation,
                "forceComputationBackend": forceComputationBackend,
                "torchVersionRequirement": torchVersionRequirement,
                "torchvisionVersionRequirement": torchvisionVersionRequirement,
            }
        )
        if STATE == "cancel":
            return None
        if STATE == "fails":
            raise subprocess.CalledProcessError(1, ["light_the_torch", "install", "torch"])
        STATE = "installed"
        return self.torch

    def uninstallTorch(self, askConfirmation=False, forceComputationBackend=None):
        """Forget torch, as pip would."""
        global STATE
        STATE = "not installed"

    @property
    def torch(self):
        return importlib.import_module("torch")

    def getDevice(self):
        return self.torch.device("cuda") if self.torch.cuda.is_available() else "cpu"

    @property
    def cuda(self):
        return self.getDevice() != "cpu"
