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

from cluster.address import cluster_address
from cluster.cards.job_cards import JobCards, real_cards_of_cluster
from cluster.connect import connected, nothing_on_stdout
from cluster.pool.actors import start_actor
from cluster.pool.pool import Outcome, WorkerPool
from cluster.pool.results import lost_image_result
from cluster.pool.slot_table import PoolLimits
from cluster.pool.work import Shard, SlotState
from cluster.pool.worker import CardWorker, WorkerSettings
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
        store = open_store(config.output or default_output(job))
        check_folder(store, resume=config.resume)
        stack.enter_context(run_lock(store))
        run = begin_run(store, resume=config.resume, record=new_record(config, job, images))
        cards = JobCards(most=config.cards, needs_real=job.needs_card, of_host=job.cards_of_host)
        began, slots = time.monotonic(), list[SlotState]()
        try:
            if run.log.image_count < len(images):
                if not address:
                    with stop.while_ray_starts():
                        stack.enter_context(connected(None, local_resources=cards.local_resources()))
                slots = _detect_images(config, job, images, run, cards, stop)
            metrics = derive(config, job, run, slots, detect_s=time.monotonic() - began)
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
    worker: type = CardWorker,
) -> list[SlotState]:
    """Do and commit what is left of the images; returns what became of each card slot.

    worker: the class of the actors, made of a slot and WorkerSettings; a benchmark puts its own on the cards.
    """
    todo = _shards_left(config, job, run, cards)
    with RunProgress(total=len(images), already=run.log.image_count) as progress:
        for sentence in run.log.voided:
            progress.tell(sentence)
        settings = WorkerSettings(device=job.device, detect=job.detect, run_started_s=run.record.started_s)
        pool = WorkerPool(
            start_worker=lambda slot: start_actor(worker, slot, settings),
            load=lambda shard: images.refs(shard.start, shard.stop),
            discover=cards.discover,
            limits=_limits(config),
            tell=progress.tell,
            check=stop.check,
        )
        with stop.deferred(), sampled_health(run, pool.cards, progress.tell), Committer(run.log) as committer:
            for outcome in pool.run(todo):
                # Before any of its rows stands: whoever goes on with the run must know whose times they hold.
                if not run.record.on_simulator and on_simulator(pool.slots):
                    run.update(on_simulator=True)
                _commit(outcome, images, committer, progress)
    run.update(workers=worker_records(pool.slots))
    return pool.slots


def _shards_left(config: DetectConfig, job: ResolvedJob, run: RunFolder, cards: JobCards) -> list[Shard]:
    size = run.record.shard_size or _shard_size(config, job, run, cards)
    run.update(shard_size=size, cards=tuple(f"{slot.host}/{slot.device_id}" for slot in cards.discover()))
    return remaining_shards(make_shards(run.image_count, size), [commit.shard for commit in run.log.commits])


def _shard_size(config: DetectConfig, job: ResolvedJob, run: RunFolder, cards: JobCards) -> int:
    return config.shard_size or default_shard_size(run.image_count, cards=cards.count(), batch=job.spec.batch)


def _limits(config: DetectConfig) -> PoolLimits:
    return PoolLimits(
        cards=config.cards, shard_deadline_s=config.shard_deadline, wait_for_cards=not config.no_wait
    )


def _commit(outcome: Outcome, images: ImageList, committer: Committer, progress: RunProgress) -> None:
    result = outcome.result
    if outcome.lost is not None:
        [image] = images.refs(outcome.shard.start, outcome.shard.stop)
        result = lost_image_result(image, reason=outcome.lost, stage="inference", attempt=outcome.attempt)
    committer.put(outcome.shard, result, outcome.attempt)
    progress.advance(len(outcome.shard), failed=result.failed_count)


command = detect_command(detect)

if __name__ == "__main__":
    from jobs.command_line import run_alone

    run_alone(command, prog_name="python -m jobs.detect")
