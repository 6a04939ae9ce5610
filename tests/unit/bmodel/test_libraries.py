"""Where the vendor's libraries are looked for, and what is said when they are not there."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bmodel.errors import LibraryError
from bmodel.libraries import (
    SIMULATOR_SHA256,
    WHEEL_LIBRARY_FOLDER,
    cache_folder,
    find_card_libraries,
    find_simulator_libraries,
    glibc_version,
    unpack_libraries,
)


def test_the_cache_is_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAYSAIL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "raysail"
    monkeypatch.setenv("RAYSAIL_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_simulator_libraries_come_in_load_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYSAIL_LIBRARIES", str(tmp_path))
    for name in SIMULATOR_SHA256:
        (tmp_path / name).touch()
    libraries = find_simulator_libraries()
    assert [path.name for path in libraries.load_order] == [
        "libcmodel_bm1684.so",
        "libbmlib.so.0",
        "libbmrt.so.1.0",
    ]
    assert libraries.kind == "simulator"
    assert libraries.runtime == tmp_path / "libbmrt.so.1.0"
    assert libraries.driver == tmp_path / "libbmlib.so.0"


def test_missing_simulator_libraries_are_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAYSAIL_LIBRARIES", str(tmp_path))
    (tmp_path / "libbmlib.so.0").touch()
    with pytest.raises(
        LibraryError, match=r"libcmodel_bm1684.so, libbmrt.so.1.0 in .*: correct RAYSAIL_LIBRARIES"
    ):
        find_simulator_libraries()
    monkeypatch.delenv("RAYSAIL_LIBRARIES")
    monkeypatch.setenv("RAYSAIL_CACHE", str(tmp_path))
    with pytest.raises(LibraryError, match=r"fetch them with 'python -m bmodel.libraries'"):
        find_simulator_libraries()


@pytest.mark.parametrize("names", [("libbmlib.so.0", "libbmrt.so.1.0"), ("libbmlib.so", "libbmrt.so")])
def test_libsophon_is_found_by_full_and_by_short_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: tuple[str, str]
) -> None:
    monkeypatch.setenv("RAYSAIL_LIBSOPHON", str(tmp_path))
    with pytest.raises(LibraryError, match=r"libsophon needs libbmlib.so.0 or libbmlib.so in"):
        find_card_libraries()
    for name in names:
        (tmp_path / name).touch()
    libraries = find_card_libraries()
    assert (libraries.kind, tuple(path.name for path in libraries.load_order)) == ("card", names)


def test_a_foreign_wheel_is_not_unpacked(tmp_path: Path) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in SIMULATOR_SHA256:
            archive.writestr(f"{WHEEL_LIBRARY_FOLDER}/{name}", b"another library")
    with pytest.raises(LibraryError, match=r"'libcmodel_bm1684.so' must have SHA-256 4404428c"):
        unpack_libraries(wheel, tmp_path / "unpacked")
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "version"),
    [("2.36", (2, 36)), ("2.34.9000", (2, 34)), ("2", (0, 0)), ("", (0, 0)), ("1.2b", (0, 0))],
)
def test_glibc_versions(text: str, version: tuple[int, int]) -> None:
    assert glibc_version(text) == version
