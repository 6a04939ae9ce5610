"""The job: a set of images → committed Parquet, label files, mAP, latency and score, through Ray actors.

A list     list_images      what the user names → image list
B shard    make_shards      image list → shards
C place    WorkerPool       shards → card slots, one actor each; cluster/pool/worker.py does D, E and F
G commit   Committer        tables → Parquet, exactly once
H measure  derive           rows → label files, metrics.json
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow.compute as pc

from cluster.address import cluster_address
from cluster.cards.job_cards import JobCards, real_cards_of_cluster
from cluster.connect import connected, nothing_on_stdout
from cluster.pool.actors import start_actor
from cluster.pool.pool import Outcome, WorkerPool
from cluster.pool.results import ShardResult, lost_image_result
from cluster.pool.slot_table import PoolLimits
from cluster.pool.work import Shard, SlotState
from cluster.pool.worker import CardWorker, WorkerSettings
from cluster.pool.worker_protocol import Worker
from jobs.config.command_options import detect_command
from jobs.config.detect_config import DetectConfig
from jobs.console.progress import RunProgress
from jobs.console.stop_signals import Stopped, StopRequest, stoppable
from jobs.console.summary import print_summary
from jobs.derive import derive, exit_code
from jobs.inputs.images import ImageList, default_shard_size, list_images, make_shards, remaining_shards
from jobs.inputs.resolve import ResolvedJob, check_ground_truth, check_label_names, load_model, resolve_job
from jobs.run.commit import Committer
from jobs.run.folder import RunFolder, begin_run, check_folder
from jobs.run.health import sampled_health
from jobs.run.lock import run_lock
from jobs.run.record import default_output, new_record, on_simulator, worker_records
from jobs.run.store import open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Detected:
    """What a driver did of a run.

    slots: what became of each card slot. detect_s: seconds from the first actor's start to the last commit.
    """

    slots: tuple[SlotState, ...] = ()
    detect_s: float = 0.0


def detect(config: DetectConfig) -> int:
    """Run the job; returns its exit code: 0 done, 3 more images failed than --max-failed. Raises RaysailError."""
    images = list_images(config.images, limit=config.limit)
    spec = load_model(config)
    check_ground_truth(config, spec, images)
    check_label_names(config, images)
    address = cluster_address(config.address)
    with ExitStack() as stack:
        stop = stack.enter_context(stoppable())
        stack.enter_context(nothing_on_stdout())
        if address:
            with stop.while_ray_starts():
                stack.enter_context(connected(address, local_resources={}))
        job = resolve_job(config, spec, cards_of_cluster=real_cards_of_cluster() if address else None)
        store = open_store(config.output or default_output(job.ran.name))
        check_folder(store, resume=config.resume)
        stack.enter_context(run_lock(store))
        run = begin_run(
            store,
            resume=config.resume,
            record=new_record(config, images, device=job.device.name, ran=job.ran, spec=job.spec),
        )
        cards = JobCards(most=config.cards, needs_real=job.needs_card, of_host=job.cards_of_host)
        detected = Detected()
        try:
            if run.log.image_count < len(images):
                if not address:
                    with stop.while_ray_starts():
                        stack.enter_context(connected(None, local_resources=cards.local_resources()))
                detected = _detect_images(config, job, images, run, cards, stop)
            metrics = derive(config, job, run, detected.slots, detect_s=detected.detect_s)
        except Stopped as stopped:
            left = len(images) - run.log.image_count
            raise Stopped(f"{stopped}: {left} images are left in '{store.place}'; --resume goes on") from None
    print_summary(metrics, run)
    return exit_code(metrics, config.max_failed)


def _detect_images(
    config: DetectConfig,
    job: ResolvedJob,
    images: ImageList,
    run: RunFolder,
    cards: JobCards,
    stop: StopRequest,
    worker: type[Worker] = CardWorker,
) -> Detected:
    """Do and commit what is left of the images.

    worker: the class of the actors, made of a slot and WorkerSettings; a benchmark puts its own on the cards.
    """
    todo = _shards_left(config, job, run, cards)
    with RunProgress(total=len(images), already=run.log.image_count) as progress:
        for sentence in run.log.voided:
            progress.tell(sentence)
        settings = WorkerSettings(device=job.device, detect=job.detect)
        pool: WorkerPool[ShardResult] = WorkerPool(
            start_worker=lambda slot: start_actor(worker, slot, settings),
            load=lambda shard: images.refs(shard.start, shard.stop),
            discover=cards.discover,
            limits=_limits(config),
            tell=progress.tell,
            check=stop.check,
            run_time_s=_run_time_s(run),
        )
        with (
            stop.deferred(tell=progress.tell),
            sampled_health(run, pool.cards, progress.tell),
            Committer(run.log) as committer,
        ):
            for outcome in pool.run(todo):
                # Before any of its rows stands: whoever goes on with the run must know whose times they hold.
                if not run.record.on_simulator and on_simulator(pool.slots):
                    run.update(on_simulator=True)
                _commit(outcome, images, committer, progress)
        committed_s = time.monotonic()
    run.update(workers=worker_records(pool.slots))
    began_s = committed_s if pool.first_start_s is None else pool.first_start_s
    return Detected(slots=tuple(pool.slots), detect_s=committed_s - began_s)


def _shards_left(config: DetectConfig, job: ResolvedJob, run: RunFolder, cards: JobCards) -> list[Shard]:
    size = run.record.shard_size or _shard_size(config, job, run, cards)
    run.update(shard_size=size, cards=tuple(f"{slot.host}/{slot.device_id}" for slot in cards.discover()))
    return remaining_shards(make_shards(run.image_count, size), [commit.shard for commit in run.log.commits])


def _shard_size(config: DetectConfig, job: ResolvedJob, run: RunFolder, cards: JobCards) -> int:
    return config.shard_size or default_shard_size(run.image_count, cards=cards.count(), batch=job.spec.batch)


def _run_time_s(run: RunFolder) -> float:
    """Seconds since the run began, by this host's clock, and never before the end of what is committed.

    A run that is resumed on a host whose clock is slow, or was set back, must not do two images at once.
    """
    ends_ms = [pc.max(table.column("finished_ms")).as_py() for table in run.log.tables("images")]
    committed_s = max((end_ms for end_ms in ends_ms if end_ms is not None), default=0.0) / 1000
    return max(committed_s, time.time() - run.record.started_s)


def _limits(config: DetectConfig) -> PoolLimits:
    return PoolLimits(
        cards=config.cards, shard_deadline_s=config.shard_deadline, wait_for_cards=not config.no_wait
    )


def _commit(
    outcome: Outcome[ShardResult], images: ImageList, committer: Committer, progress: RunProgress
) -> None:
    result = outcome.result or _lost_image(outcome, images)
    committer.put(outcome.shard, result, outcome.attempt)
    progress.advance(len(outcome.shard), failed=result.failed_count, detections=result.detections.num_rows)


def _lost_image(outcome: Outcome[ShardResult], images: ImageList) -> ShardResult:
    """The row of an image that no card could carry through.

    A worker that lives raises for its device alone, so that stage is inference. A worker that died or hung cannot
    say how far it was: the column keeps to its vocabulary, and the reason says that the stage is not known.
    """
    [image] = images.refs(outcome.shard.start, outcome.shard.stop)
    reason = outcome.lost or "no reason is known"
    if outcome.worker_ended:
        reason = f"the worker died or hung at this image, in which stage is not known: {reason}"
    return lost_image_result(image, reason=reason, stage="inference", attempt=outcome.attempt)


command = detect_command(detect)

if __name__ == "__main__":
    from jobs.command_line import run_alone

    run_alone(command, prog_name="python -m jobs.detect")
