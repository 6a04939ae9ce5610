"""The checks of cards and cluster: who uses the cards, and whether the cluster lets us in and keeps others out."""

from __future__ import annotations

import importlib.util
import platform
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from bmodel.container import read_container
from bmodel.errors import ConfigurationError, DeviceError, LibraryError, RaysailError, RunError
from bmodel.libraries import find_card_libraries
from bmodel.model_file import CHIP, load_spec
from bmodel.sidecar import sidecar_path
from cluster.address import cluster_address
from cluster.cards.card_users import card_users
from cluster.cards.find_cards import find_cards
from cluster.cards.isolated_query import read_card_isolated, sail_version
from cluster.cluster_status import ClusterStatus, query_cluster
from cluster.health.card_health import overheating_problem
from cluster.node import has_token
from jobs.doctor.host_checks import Check
from tpu_worker.devices.choose_device import has_sail

CONNECT_WITHIN_S = 5.0
TOKEN_HINT = "copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"  # noqa: S105


def check_cluster(address: str | None) -> Iterator[Check]:
    """The cluster named by an option or RAY_ADDRESS; without one there is nothing to check."""
    address = cluster_address(address)
    if not address:
        hint = "none named: a job starts a local one; --address HOST:PORT checks another"
        yield Check(name="Ray cluster", status="note", found=f"Ray {version('ray')}, no cluster", hint=hint)
        return
    if (reason := _why_unreachable(address)) is not None:
        hint = "is the head up ('raysail node start --head'), its port open, and is this its host:port?"
        yield Check(name="Ray cluster", status="fail", found=f"'{address}': {reason}", hint=hint)
        return
    try:
        status = query_cluster(address)
    except RunError as error:
        hint = TOKEN_HINT if "token" in str(error).lower() or not has_token() else "see the head's log"
        yield Check(name="Ray cluster", status="fail", found=str(error), hint=hint)
        return
    yield from describe(address, status)


def describe(address: str, status: ClusterStatus) -> Iterator[Check]:
    """The checks that a cluster's status answers."""
    cards = f"{status.real_cards} cards, {status.virtual_cards} virtual ones"
    found = f"'{address}': {status.nodes} node(s), {cards}, Ray {status.ray_version or 'of unknown version'}"
    mine = {
        "Ray": (status.ray_version, version("ray")),
        "Python": (status.python_version, platform.python_version()),
    }
    other = [
        f"{name} {theirs} there, {own} here"
        for name, (theirs, own) in mine.items()
        if theirs not in {"", own}
    ]
    hint = f"Ray requires the same versions everywhere: {'; '.join(other)}" if other else ""
    yield Check(name="Ray cluster", status="fail" if other else "ok", found=found, hint=hint)
    if status.wants_token:
        yield Check(name="Ray token", status="ok", found="the cluster refuses a client without its token")
    else:
        hint = "whoever can reach it can run code on it: start it with 'raysail node start', or set RAY_AUTH_MODE=token"
        yield Check(name="Ray token", status="fail", found="the cluster accepts any client", hint=hint)


def _why_unreachable(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not host:
        return "must be HOST:PORT"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        return f"nothing answers ({getattr(error, 'strerror', None) or error})"
    return None


DRIVER_VERSION = Path("/proc/bmsophon/driver_version")
DEVICES = Path("/dev")
# For other hosts the SDK has SAIL's source, to be built with the same Python that will import it.
SAIL_WHEELS = (
    "the vendor's SDK has wheels for Python 3.8 and 3.10 on ARM hosts; elsewhere build SAIL from the SDK"
)

SILENT = "its driver may hang: see 'dmesg', then reset the card or reload the driver; if that hangs too, restart the host"


def check_cards(device_folder: Path = DEVICES) -> Iterator[Check]:
    """The cards, how they were found, their state and their users."""
    files = sorted(path.name for path in device_folder.glob("bm-sophon*"))
    try:
        found = find_cards(device_folder=device_folder)
    except DeviceError as error:
        files = files or ["no device file"]
        yield Check(name="cards", status="fail", found=f"{error} ({', '.join(files)})", hint=SILENT)
        return
    if not found.device_ids:
        yield Check(
            name="cards",
            status="fail" if files else "note",
            found=f"none, though there is {', '.join(files)}" if files else "none",
            hint=f"{found.source} sees none of these device files: reload the driver"
            if files
            else "without a card, jobs run on the CPU or on the chip simulator",
        )
        return
    numbers = ", ".join(map(str, found.device_ids))
    yield Check(name="cards", status="ok", found=f"{numbers}, found by {found.source}")
    # All at once: each one that hangs costs its timeout.
    with ThreadPoolExecutor(len(found.device_ids)) as pool:
        states = list(pool.map(_state_of, found.device_ids))
    for device_id, state in zip(found.device_ids, states, strict=True):
        yield state
        if users := card_users(device_id, device_folder=device_folder):
            hint = (
                "a job waits for a card held by Raysail; a card shared with another program slows jobs down"
            )
            yield Check(name=f"card {device_id} users", status="note", found="; ".join(users), hint=hint)


def check_driver(version_file: Path = DRIVER_VERSION, device_folder: Path = DEVICES) -> Iterator[Check]:
    """The kernel driver and libsophon, which come from the same SDK."""
    has_cards = any(device_folder.glob("bm-sophon*"))
    missing = "fail" if has_cards else "note"
    try:
        driver = " ".join(version_file.read_text(encoding="utf-8", errors="replace").split())
        yield Check(name="driver", status="ok", found=driver)
    except OSError:
        # A module whose own processor runs Linux has the driver built into its kernel, without this file.
        hint = "needed for a card: install the vendor's driver, or see 'lsmod' for bmsophon"
        yield Check(name="driver", status="note", found=f"no '{version_file}'", hint=hint)
    try:
        libraries = find_card_libraries()
    except LibraryError as error:
        hint = f"{error} (only for cards)"
        yield Check(
            name="libsophon", status="note" if missing == "note" else "fail", found="not there", hint=hint
        )
        return
    folder = libraries.runtime.parent.resolve()
    yield Check(name="libsophon", status="ok", found=f"{libraries.runtime.resolve().name} in '{folder}'")


def check_sail(device_folder: Path = DEVICES) -> Iterator[Check]:
    """Whether SAIL is installed for this Python, and whether it loads."""
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}"
    if not has_sail():
        others = sail_builds()
        found = f"not for {python}" + (f", only {', '.join(others)}" if others else "")
        has_cards = any(device_folder.glob("bm-sophon*"))
        instead = "until then jobs use libsophon's libbmrt" if has_cards else "only for cards"
        yield Check(name="SAIL", status="note", found=found, hint=f"{SAIL_WHEELS} ({instead})")
        return
    try:
        number = sail_version()
    except (LibraryError, DeviceError) as error:
        # pip installs such a wheel into any Python: its name says py3-none-any.
        hint = f"a wheel built for another Python, or no libsophon: {SAIL_WHEELS}"
        yield Check(name="SAIL", status="fail", found=str(error), hint=hint)
        return
    yield Check(name="SAIL", status="ok", found=f"{number or 'of an unknown version'}, loads in {python}")


def check_model(path: Path) -> Iterator[Check]:
    """Whether a model file is intact, for this chip, and has a sidecar."""
    try:
        chip = read_container(path).chip if path.suffix.lower() == ".bmodel" else None
        if chip not in {None, CHIP}:
            hint = f"compile it again for {CHIP}: 'raysail compile'"
            yield Check(name="model", status="fail", found=f"'{path}' is for {chip}, not {CHIP}", hint=hint)
            return
        spec = load_spec(path)
    except ConfigurationError as error:
        yield Check(
            name="model", status="note", found=str(error), hint="no sidecar: give detection the option"
        )
        return
    except RaysailError as error:
        yield Check(
            name="model", status="fail", found=str(error), hint="'raysail inspect' shows more of the file"
        )
        return
    shape = " x ".join(map(str, spec.input.shape))
    found = f"'{path}': {chip or 'ONNX, for the CPU'}, {spec.precision}, input {shape}, {len(spec.outputs)} outputs"
    if sidecar_path(path).is_file():
        yield Check(name="model", status="ok", found=found)
    else:
        hint = "no sidecar: strides and classes are inferred; give --anchors and --class-names"
        yield Check(name="model", status="note", found=found, hint=hint)


def sail_builds() -> list[str]:
    """The Python versions that the installed SAIL files are for, by their names."""
    try:
        spec = importlib.util.find_spec("sophon")
    except (ImportError, ValueError):
        return []
    folders = list(spec.submodule_search_locations or ()) if spec else []
    names = [path.name for folder in folders for path in Path(folder).glob("sail*.so")]
    return sorted({name.split(".")[1] for name in names if name.count(".") > 1})


def _state_of(device_id: int) -> Check:
    name = f"card {device_id} state"
    try:
        health = read_card_isolated(device_id)
    except LibraryError as error:
        hint = f"reading its state needs SAIL or libsophon: {error}"
        return Check(name=name, status="note", found="unknown", hint=hint)
    except DeviceError as error:
        return Check(name=name, status="fail", found=str(error), hint=SILENT)
    found = (
        f"chip {health.chip_temperature_c} °C, board {health.board_temperature_c} °C, {health.memory_used_mb} of "
        f"{health.memory_total_mb} MB used, {health.utilisation_percent} % busy"
    )
    hot = overheating_problem(health.chip_temperature_c)
    return Check(name=name, status="fail" if hot else "ok", found=found, hint=hot or "")
