"""Every error that Raysail raises on purpose.

    RaysailError                     one clear sentence: name, rule, value, place
    ├── ConfigurationError           an option, a YAML key or a path is wrong: exit code 2, before Ray starts
    │   └── OutputError              what a network computes cannot be what its layout says
    ├── ModelFileError               a BModel, ONNX file or sidecar is damaged, foreign or inconsistent
    ├── LibraryError                 a native library is missing, too old or for another machine
    ├── ToolError                    the compiler or one of its tools failed
    ├── DeviceError                  a device refused a call, failed or died
    │   └── CardTakenError           another process has the card, and nothing is wrong with it
    └── RunError                     a run cannot go on (another driver owns it, no card is left, the disk is full)

Label files have an error of their own, `data.formats.FormatError`: `data` imports nothing of the project.
All take one positional message, so that they survive pickling on their way out of a Ray actor.
"""

from __future__ import annotations


class RaysailError(Exception):
    """The base of every error raised on purpose."""


class ConfigurationError(RaysailError):
    """An option, a YAML key or a path is wrong."""


class OutputError(ConfigurationError):
    """A network's outputs cannot be what its layout says: no other card or image would help."""


class ModelFileError(RaysailError):
    """A BModel, an ONNX file or a sidecar is damaged, foreign or inconsistent."""


class LibraryError(RaysailError):
    """A native library is missing, too old or for another machine."""


class ToolError(RaysailError):
    """The compiler or one of its tools failed."""


class DeviceError(RaysailError):
    """A device refused a call, failed or died."""


class CardTakenError(DeviceError):
    """Another process has the card, and nothing is wrong with it."""


class RunError(RaysailError):
    """A run cannot go on."""
