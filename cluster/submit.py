"""Submits a detection job to a cluster's job server, follows its log, and returns its true exit code."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bmodel.errors import ConfigurationError, RunError
from cluster.node import DASHBOARD_PORT, has_token

DEFAULT_JOB_SERVER = f"http://127.0.0.1:{DASHBOARD_PORT}"
POLL_S = 0.5
_ROOT = Path(__file__).resolve().parent.parent


class JobServer:
    """A cluster's job server; raises ConfigurationError when it cannot be used."""

    def __init__(self, url: str) -> None:
        if has_token():
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray is imported: it looks once
        from ray.job_submission import JobSubmissionClient

        self.url = url
        try:
            self._client = JobSubmissionClient(url)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigurationError(f"--address: cannot use the job server at '{url}': {reason}") from None

    def submit(self, arguments: Sequence[str], *, working_dir: Path | None) -> str:
        """Start `python -m jobs.detect` with these arguments; returns the submission's id.

        working_dir: the folder that travels with the job, None for this very code alone. The job asks for no card
        and no CPU: its driver needs none, and a card would stand idle.
        """
        try:
            return self._client.submit_job(
                entrypoint=shlex.join(["python", "-m", "jobs.detect", *arguments]),
                runtime_env=_environment(working_dir),
                entrypoint_num_cpus=0,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunError(f"the job was not accepted: {' '.join(str(error).split())}") from None

    def follow(self, submission_id: str, write: Callable[[str], Any]) -> int:
        """Write a job's log as it comes; returns the exit code of its driver, 1 where there is none."""
        asyncio.run(self._tail(submission_id, write))
        while not self._client.get_job_status(submission_id).is_terminal():
            time.sleep(POLL_S)
        details = self._client.get_job_info(submission_id)
        if details.status == "SUCCEEDED":
            return 0
        return details.driver_exit_code or 1

    async def _tail(self, submission_id: str, write: Callable[[str], Any]) -> None:
        try:
            async for lines in self._client.tail_job_logs(submission_id):
                write(lines)
        except (RuntimeError, OSError) as error:  # the job goes on, and its end is waited for
            write(f"raysail: the log is no longer followed: {' '.join(str(error).split())}\n")


def _environment(working_dir: Path | None) -> dict[str, Any]:
    """What travels with the job; `.gitignore` and `.rayignore` decide what of a folder does."""
    if working_dir is not None:
        return {"working_dir": str(working_dir)}
    if (_ROOT / "pyproject.toml").is_file():
        return {"working_dir": str(_ROOT)}
    from cluster.connect import code_for_workers

    return code_for_workers()
