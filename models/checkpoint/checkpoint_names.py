"""The globals that a checkpoint of the YOLOv7 authors names, and no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bmodel.errors import ModelFileError


@dataclass(frozen=True, kw_only=True, slots=True)
class Global:
    """The name of a class or function that a pickle refers to; nothing is ever looked up by it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


REBUILD_TENSOR: Final = Global(module="torch._utils", name="_rebuild_tensor_v2")
REBUILD_PARAMETER: Final = Global(module="torch._utils", name="_rebuild_parameter")
STORAGE_DTYPES: Final = {
    Global(module="torch", name=f"{kind}Storage"): dtype
    for kind, dtype in {
        "Float": "<f4",
        "Half": "<f2",
        "Double": "<f8",
        "BFloat16": "<u2",
        "Long": "<i8",
        "Int": "<i4",
        "Short": "<i2",
        "Char": "<i1",
        "Byte": "<u1",
        "Bool": "|b1",
    }.items()
}
"""What a storage holds, as numpy reads it; bfloat16 as the 16 bits that it is."""

BFLOAT16: Final = Global(module="torch", name="BFloat16Storage")

_OTHERS: Final = frozenset(
    Global(module=module, name=name)
    for module, name in (
        ("collections", "OrderedDict"),
        ("__builtin__", "set"),
        ("builtins", "set"),
        ("torch", "Size"),
        # A training checkpoint's best result, a numpy value: kept as a record, never built.
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
    )
)
_EXACT: Final = _OTHERS | STORAGE_DTYPES.keys() | {REBUILD_TENSOR, REBUILD_PARAMETER}
_MODULES: Final = frozenset({"models.yolo", "models.common", "models.experimental"})
_PACKAGE: Final = "torch.nn.modules."
_LONGEST_SHOWN: Final = 120


def allowed_global(module: str, name: str) -> Global:
    """Return a name that checkpoints need; raises ModelFileError for any other."""
    wanted = Global(module=module, name=name)
    in_package = module in _MODULES or module.startswith(_PACKAGE)
    if wanted in _EXACT or (in_package and name.isidentifier()):
        return wanted
    raise ModelFileError(
        f"the checkpoint asks for {quoted(str(wanted))}, which no YOLOv7 checkpoint needs: refused"
    )


def quoted(text: str) -> str:
    """Quote untrusted text for a message: one short line, no control characters."""
    return ascii(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")
