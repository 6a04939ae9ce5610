"""The job: a set of images → committed Parquet, label files, mAP, latency and score, through Ray actors.

A list     list_images      what the user names → image list
B shard    make_shards      image list → shards
C place    WorkerPool       shards → card slots, one actor each; cluster/worker.py does D, E and F
G commit   Committer        tables → Parquet, exactly once; then label files
H measure  measure          rows → metrics.json
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import ray

from cluster.actors import start_actor
from cluster.cards import CardSlot, card_resources, choose_slots, registered_slots
from cluster.connect import cluster_address, connected
from cluster.find_cards import find_cards
from cluster.pool import Outcome, WorkerPool
from cluster.results import ShardResult, lost_image_result
from cluster.slot_table import PoolLimits
from cluster.worker import CardWorker, WorkerSettings
from jobs.committer import Committer
from jobs.configuration import DetectConfig
from jobs.images import ImageList, list_images
from jobs.measure import measure
from jobs.metrics import Metrics, TimeSpent, card_accounts
from jobs.options import detect_command
from jobs.prepare import Plan, prepare
from jobs.progress import RunProgress
from jobs.run_facts import default_output, run_facts
from jobs.run_folder import RunFolder, begin_run, finish_run
from jobs.run_lock import run_lock
from jobs.run_store import open_store
from jobs.shards import default_shard_size, make_shards, remaining_shards
from jobs.stop_signals import Stopped, stoppable
from jobs.summary import print_summary
from jobs.write_labels import write_labels


def detect(config: DetectConfig) -> int:
    """Run the job; returns its exit code: 0 done, 3 more images failed than --max-failed. Raises RaysailError."""
    images = list_images(config.images, limit=config.limit)
    address = cluster_address(config.address)
    with ExitStack() as stack:
        stack.enter_context(stoppable())
        if address:
            stack.enter_context(connected(address, local_resources={}))
        real_cards = len(registered_slots(ray.nodes(), virtual=False)) if address else None
        plan = prepare(config, cards_of_cluster=real_cards)
        store = open_store(config.output or default_output(plan))
        stack.enter_context(run_lock(store))
        run = begin_run(store, resume=config.resume, facts=run_facts(config, plan, images))
        if not address:
            stack.enter_context(connected(None, local_resources=_local_resources(config, plan)))
        metrics = _work(config, plan, images, run)
    print_summary(metrics, run)
    return exit_code(metrics, config.max_failed)


def _work(config: DetectConfig, plan: Plan, images: ImageList, run: RunFolder) -> Metrics:
    began = time.monotonic()
    slots = _slots(config, plan)
    if "shard_size" not in run.facts:
        size = config.shard_size or default_shard_size(
            len(images), cards=len(slots) or 1, batch=plan.spec.batch
        )
        run.write_facts(shard_size=size)
    todo = remaining_shards(
        make_shards(len(images), run.facts["shard_size"]), [c.shard for c in run.log.commits]
    )
    done = len(images) - sum(len(shard) for shard in todo)
    with RunProgress(total=len(images), already=done) as progress:
        for sentence in run.log.voided:
            progress.tell(sentence)
        pool = _pool(config, plan, images, run, progress)
        try:
            with Committer(run.log) as committer:
                for outcome in pool.run(todo):
                    _commit(outcome, images, committer, progress)
        except Stopped as stopped:
            left = len(images) - run.log.image_count
            raise Stopped(
                f"{stopped}: {left} images are left in '{run.store.place}'; --resume goes on"
            ) from None
    detected = time.monotonic()
    run.log.verify_coverage(len(images))
    if config.label_format != "none":
        write_labels(
            run.log, run.store, label_format=config.label_format, spec=plan.spec, device=plan.device.name
        )
    metrics = measure(
        run.log,
        spec=plan.spec,
        device=plan.device.name,
        model=plan.ran,
        ground_truth=Path(config.ground_truth) if config.ground_truth else None,
        evaluator=config.evaluator,
        score_protocol=config.score_protocol,
        time=TimeSpent(detect_s=detected - began, write_s=time.monotonic() - detected),
        accounts=card_accounts(pool.slots),
    )
    run.store.write("metrics.json", metrics.model_dump_json(indent=2).encode() + b"\n")
    finish_run(run)
    return metrics


def _pool(
    config: DetectConfig, plan: Plan, images: ImageList, run: RunFolder, progress: RunProgress
) -> WorkerPool:
    settings = WorkerSettings(device=plan.device, detect=plan.detect, run_started_s=run.facts["started_s"])
    return WorkerPool(
        start_worker=lambda slot: start_actor(CardWorker, slot, settings),
        load=lambda shard: images.refs(shard.start, shard.stop),
        discover=lambda: _slots(config, plan),
        limits=PoolLimits(
            cards=config.cards, shard_deadline_s=config.shard_deadline, wait_for_cards=not config.no_wait
        ),
        tell=progress.tell,
    )


def _commit(outcome: Outcome, images: ImageList, committer: Committer, progress: RunProgress) -> None:
    result: ShardResult = outcome.result
    if outcome.lost is not None:
        [image] = images.refs(outcome.shard.start, outcome.shard.stop)
        result = lost_image_result(image, reason=outcome.lost, stage="inference", attempt=outcome.attempt)
    committer.put(outcome.shard, result, outcome.attempt)
    progress.advance(len(outcome.shard), failed=result.failed_count)


def _slots(config: DetectConfig, plan: Plan) -> list[CardSlot]:
    return choose_slots(ray.nodes(), cards=config.cards, needs_card=plan.needs_card)


def _local_resources(config: DetectConfig, plan: Plan) -> dict[str, float]:
    """What the local cluster's only node registers: this host's cards, or as many virtual ones as wanted."""
    if plan.needs_card:
        return card_resources(find_cards().device_ids, virtual=False)
    return card_resources(range(config.cards or 1), virtual=True)


def exit_code(metrics: Metrics, max_failed: int | None) -> int:
    """3 when more images failed than allowed; without a limit, when all of them did."""
    allowed = metrics.images.total - 1 if max_failed is None else max_failed
    return 3 if metrics.images.failed > allowed else 0


command = detect_command(detect)

if __name__ == "__main__":
    from jobs.command_line import run_alone

    run_alone(command, prog_name="python -m jobs.detect")
