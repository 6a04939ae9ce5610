"""What an exporter wrote into an ONNX file's metadata about its network; read as data, never run."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bmodel.errors import ModelFileError

# The names of 20,000 classes fit; nothing that an exporter writes is longer.
MOST_CHARACTERS: Final = 1 << 20
# What a network finds besides boxes, by the exporter's name of its task.
_OTHER_TASKS: Final = {
    "segment": "it finds masks",
    "pose": "it finds key points",
    "obb": "its boxes are rotated",
    "classify": "it finds no boxes",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFacts:
    """Facts of a file's metadata; None where it does not state them.

    class_names: in the order of the class ids; task: like `detect`; is_end_to_end: the network suppresses itself.
    """

    class_names: tuple[str, ...] | None = None
    task: str | None = None
    is_end_to_end: bool | None = None


def read_export_facts(metadata: Mapping[str, str], place: str) -> ExportFacts:
    """Read the keys `names`, `task` and `end2end`; raises ModelFileError naming the key and `place`."""
    end_to_end = _literal("end2end", metadata, place)
    return ExportFacts(
        class_names=_class_names(_literal("names", metadata, place), place),
        task=metadata.get("task"),
        is_end_to_end=end_to_end if isinstance(end_to_end, bool) else None,
    )


def check_task(facts: ExportFacts, place: str) -> None:
    """Raise ModelFileError for a network that its exporter says is no plain detector."""
    if facts.task in _OTHER_TASKS:
        raise ModelFileError(
            f"task: the file's metadata says '{facts.task}', so {_OTHER_TASKS[facts.task]}, and only upright boxes are "
            f"read; export a network of the task 'detect' instead of '{place}'"
        )


def _literal(key: str, metadata: Mapping[str, str], place: str) -> object:
    text = metadata.get(key)
    if text is None:
        return None
    if len(text) > MOST_CHARACTERS:
        raise ModelFileError(
            f"metadata '{key}': must be at most {MOST_CHARACTERS} characters, got {len(text)} in '{place}'"
        )
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ModelFileError(f"metadata '{key}': must be a Python literal in '{place}'") from error


def _class_names(names: object, place: str) -> tuple[str, ...] | None:
    """`{0: 'person', …}` or a list of names → the names."""
    if names is None:
        return None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ModelFileError(f"metadata 'names': must name the classes 0, 1, … by text in '{place}'")
    return tuple(names)
