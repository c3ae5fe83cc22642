"""The scenarios of bench/faults. Each injects one fault; `ScenarioRun.settle` counts the results.

Times are from the fault (an outage: from its end) to the next progress of every job, unless the
title says otherwise.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from typing import Any

from faults.proxy import NetworkState, Proxy
from faults.steps import Moment
from scenario_run import BOUND_SECONDS, PROMPT_SECONDS, Scenario, ScenarioRun, in_seconds
from sides import LEASE_SECONDS, Evalqueue

FROZEN_SECONDS = 60.0
NET_DELAY = 0.02  # seconds, each way
GRACE = "--shutdown-graceful-timeout=2"
HEARTBEAT_PATIENCE = 25.0  # seconds after which a heartbeat that comes every 10 is gone

SCENARIOS: dict[str, tuple[str, Scenario]] = {}


def scenario(name: str, title: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[name] = (title, function)
        return function

    return register


@scenario("kill", "SIGKILL mid-job")
async def _kill(run: ScenarioRun) -> None:
    victim = await run.worker()
    job = await run.submit()
    await run.until_effects(job, 4)
    await run.worker()
    run.fault()
    await victim.close()


@scenario("kill-before-finish", "SIGKILL between result and finish")
async def _kill_before_finish(run: ScenarioRun) -> None:
    proxy = await run.network()
    victim = await run.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(run.side.finish, Moment.BEFORE)
    await run.submit(items=4)
    await trap.sprung.wait()
    await run.worker()
    run.fault()
    await victim.close()


@scenario("freeze", f"SIGSTOP for {FROZEN_SECONDS:.0f} s, then SIGCONT (from the SIGSTOP)")
async def _freeze(run: ScenarioRun) -> None:
    frozen = await run.worker()
    job = await run.submit()
    await run.until_effects(job, 4)
    await run.worker()
    run.fault()
    frozen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS)
    frozen.send_signal(signal.SIGCONT)
    await asyncio.sleep(5.0)  # for the late statements of the thawed worker


@scenario("deploy", "SIGTERM with a job longer than the grace of 2 s")
async def _deploy(run: ScenarioRun) -> None:
    stopped = await run.worker(GRACE)
    job = await run.submit(items=20, seconds=0.5)
    await run.until_effects(job, 2)
    await run.worker()
    stopped.send_signal(signal.SIGTERM)
    await stopped.wait()
    run.fault()


@scenario("outage-1", "Postgres gone for 1 s")
async def _outage_1(run: ScenarioRun) -> None:
    await _outage(run, 1.0)


@scenario("outage-15", "Postgres gone for 15 s")
async def _outage_15(run: ScenarioRun) -> None:
    await _outage(run, 15.0)


@scenario("outage-120", "Postgres gone for 120 s")
async def _outage_120(run: ScenarioRun) -> None:
    await _outage(run, 120.0)


@scenario("outage-40-idle", "Postgres gone for 40 s, two idle workers (to a new job of each)")
async def _outage_40_idle(run: ScenarioRun) -> None:
    for _ in range(2):
        await run.worker("--concurrency=1")
    async with run.server.outage():
        await asyncio.sleep(40.0)
    run.fault()
    for _ in range(2):
        await run.submit(items=4, seconds=1.0)


async def _outage(run: ScenarioRun, seconds: float) -> None:
    """A job of 40 s is running. Pick-ups are measured once the workers have had time to recover."""
    await run.worker()
    job = await run.submit(items=80, seconds=0.5)
    await run.until_effects(job, 4)
    await run.worker()
    async with run.server.outage():
        await asyncio.sleep(seconds)
    run.fault()
    await run.submit(items=1, seconds=0.0)
    await asyncio.sleep(HEARTBEAT_PATIENCE)
    run.note_pick_ups(await run.pick_ups(3))
    if not isinstance(run.side, Evalqueue):
        silent = await run.watch.value(
            "SELECT count(*) FROM procrastinate_workers AS w "
            "WHERE last_heartbeat < now() - make_interval(secs => %s) AND EXISTS "
            "(SELECT FROM procrastinate_jobs WHERE worker_id = w.id AND status = 'doing')",
            HEARTBEAT_PATIENCE,
        )
        if silent:
            run.notes.append(f"{silent} worker(s) at work without a heartbeat")


@scenario("finish-in-outage", "A job finishes while Postgres is gone for 15 s")
async def _finish_in_outage(run: ScenarioRun) -> None:
    proxy = await run.network()
    await run.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(run.side.finish, Moment.BEFORE)
    await run.submit(items=4)
    await trap.sprung.wait()
    await run.worker()
    async with run.server.outage():
        proxy.reset_all()
        await asyncio.sleep(15.0)
    run.fault()


@scenario("listen-ended", "The LISTEN session is terminated (pick-up of a new job after 5 s)")
async def _listen_ended(run: ScenarioRun) -> None:
    for _ in range(2):
        await run.worker()
    await run.watch.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query ILIKE 'listen%%' AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(5.0)
    lags = await run.pick_ups(4)
    run.recovered = lags[0]
    run.note_pick_ups(lags)


@scenario("listen-half-open", "The LISTEN connection goes half-open (until pick-ups are prompt)")
async def _listen_half_open(run: ScenarioRun) -> None:
    proxy = await run.network()
    await run.worker(through=proxy.port)
    await proxy.until(lambda link: link.listens)
    await run.pick_up()
    run.fault()
    proxy.strand(lambda link: link.listens)
    lags: list[float] = []
    while len(lags) < 3 or max(lags[-3:]) >= PROMPT_SECONDS:
        if time.time() - run.fault_at > BOUND_SECONDS:
            run.notes.append("never prompt again")
            break
        lags.append(await run.pick_up(bound=35.0))
        run.recovered = time.time() - run.fault_at
        await asyncio.sleep(1.0)
    run.note_pick_ups(lags)


@scenario("half-open", "A connection goes half-open under a statement; its peer acknowledges")
async def _half_open(run: ScenarioRun) -> None:
    """As behind a load balancer that hangs: no TCP timeout ends it, and other connections work."""
    proxy = await run.network()
    await run.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(rf"evalqueue_hold_job|{run.side.finish}", Moment.BEFORE)  # never released
    await run.submit(items=4)
    await trap.sprung.wait()
    await run.worker()
    run.fault()


@scenario("notify-in-fetch", "12 NOTIFYs while an empty fetch is on its way back (20 ms network)")
async def _notify_in_fetch(run: ScenarioRun) -> None:
    proxy = await run.network()
    await run.worker(through=proxy.port)
    proxy.delay_seconds = NET_DELAY
    lags: list[float] = []
    while len(lags) < 12:
        lag = await _pick_up_notified_in_a_fetch(run, proxy)
        if lag is not None:
            lags.append(lag)
    run.recovered = max(lags)
    run.note_pick_ups(lags)


async def _pick_up_notified_in_a_fetch(run: ScenarioRun, proxy: Proxy) -> float | None:
    """The lag of a pick-up; None: the trap stopped another fetch."""
    await asyncio.sleep(0.5)  # the worker is idle, and no statement is in flight
    trap = proxy.trap(run.side.claim, Moment.AFTER, nth=2)  # the second fetch is empty
    primer = await run.submit(items=1, seconds=0.0)
    await trap.sprung.wait()
    try:
        await run.until_effects(primer, 1, bound=1.0)
        picked_up = asyncio.create_task(run.pick_up())
        await asyncio.sleep(0.2)  # notified while the reply to the fetch is held back
    except TimeoutError:
        return None
    finally:
        trap.released.set()
        proxy.traps.remove(trap)
    return await picked_up


@scenario("cancel", "Cancel of a running job that has retries")
async def _cancel(run: ScenarioRun) -> None:
    for _ in range(2):
        await run.worker()
    job = await run.submit(items=20, seconds=0.5)
    await run.until_effects(job, 2)
    run.fault()
    await run.cancel(job)


@scenario("cancel-orphan", "Cancel of a job whose worker was killed")
async def _cancel_orphan(run: ScenarioRun) -> None:
    victim = await run.worker()
    job = await run.submit(items=20, seconds=0.5)
    await run.until_effects(job, 2)
    await run.worker()
    await victim.close()
    run.fault()
    await run.cancel(job)


@scenario("cancel-in-drain", "Cancel while its worker drains after SIGTERM")
async def _cancel_in_drain(run: ScenarioRun) -> None:
    drained = await run.worker()
    job = await run.submit(items=20, seconds=0.5)
    await run.until_effects(job, 2)
    await run.worker()
    drained.send_signal(signal.SIGTERM)
    await asyncio.sleep(1.0)
    run.fault()
    await run.cancel(job)


@scenario("zombie", "A finish that arrives after the job was taken back and runs elsewhere")
async def _zombie(run: ScenarioRun) -> None:
    proxy = await run.network()
    await run.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(run.side.finish, Moment.BEFORE)
    rests: dict[str, Any] = {"later_attempts_rest": 8.0} if isinstance(run.side, Evalqueue) else {}
    job = await run.submit(items=8, seconds=0.5, **rests)
    await trap.sprung.wait()
    proxy.state = NetworkState.SILENT
    await run.worker()
    run.fault()
    if isinstance(run.side, Evalqueue):
        await asyncio.sleep(LEASE_SECONDS + 1.0)
    await run.side.recover(run.address, job)
    await run.until_running(job)
    await asyncio.sleep(1.0)
    proxy.state = NetworkState.NORMAL
    trap.released.set()
    await asyncio.sleep(1.0)
    if await run.state(job) == "done":
        run.notes.append("finished by the previous attempt while another one runs")
    run.recovered = time.time() - run.fault_at
    await asyncio.sleep(6.0)


@scenario("poison", "A job that kills its worker each time (until it is failed with that reason)")
async def _poison(run: ScenarioRun) -> None:
    for _ in range(2):
        await run.worker()
    run.fault()
    await run.submit(items=4, kills_its_worker=True, end="failed")


@scenario("bouncer", "PgBouncer in transaction mode, nothing else configured (12 pick-ups)")
async def _bouncer(run: ScenarioRun) -> None:
    port = await run.pooler()
    worker = await run.worker(through=port, listens=False)
    if await worker.until_logged("pooler") if isinstance(run.side, Evalqueue) else False:
        run.notes.append("refuses to start, and says why")
        return
    await worker.until_logged(run.side.ready)
    await _pick_ups_behind_a_pooler(run)


@scenario("bouncer-direct", "PgBouncer with what each side can do about it (12 pick-ups)")
async def _bouncer_direct(run: ScenarioRun) -> None:
    port = await run.pooler()
    await run.worker(
        kind="pooled", through=port, listens=isinstance(run.side, Evalqueue),
        EVALQUEUE_LISTEN_URL=run.address,
    )  # fmt: skip
    await run.workers[0].until_logged(run.side.ready)
    await asyncio.sleep(1.0)
    await _pick_ups_behind_a_pooler(run)


async def _pick_ups_behind_a_pooler(run: ScenarioRun) -> None:
    run.fault()
    lags = await run.pick_ups(12)
    run.recovered = max(lags)
    run.note_pick_ups(lags)


@scenario("scheduled", "12 scheduled jobs: the longest lag behind their moment")
async def _scheduled(run: ScenarioRun) -> None:
    await run.worker()
    dues = [in_seconds(2.0 + 0.7 * number) for number in range(12)]
    jobs = [await run.submit(items=1, seconds=0.0, due=due) for due in dues]
    run.recovered = 0.0
    for job, due in zip(jobs, dues, strict=True):
        await run.until_effects(job, 1)
        moment = await run.watch.value(
            "SELECT extract(epoch FROM min(at))::float8 FROM faults.effects "
            "WHERE job_id::text = %s",
            job,
        )
        run.recovered = max(run.recovered or 0.0, moment - due.timestamp())


@scenario("retried", "4 jobs that ask for a retry after 1 s: the longest lag behind it")
async def _retried(run: ScenarioRun) -> None:
    await run.worker()
    for _ in range(4):
        run.fault()
        job = await run.submit(items=1, seconds=0.0, tries_again=1, after=1.0)
        await run.until_effects(job, 1)
        first = time.time()
        while await run.state(job) != "done" and time.time() - first < BOUND_SECONDS:
            await asyncio.sleep(0.02)
        run.recovered = max(run.recovered or 0.0, time.time() - first - 1.0)
        with contextlib.suppress(KeyError):
            # A task without a checkpoint repeats all items; other scenarios count that as "twice".
            del run.expected[job]


@scenario(
    "unknown-task", "A worker meets a task that only a newer one knows (from the start of that one)"
)
async def _unknown_task(run: ScenarioRun) -> None:
    older = await run.worker(kind="older")
    await run.submit(items=1, seconds=0.0)
    await asyncio.sleep(3.0)
    older.send_signal(signal.SIGTERM)
    await older.wait()
    run.fault()
    await run.worker()


@scenario("million", "Start with 1 M finished jobs and a dead worker's record (to the first job)")
async def _million(run: ScenarioRun) -> None:
    async with await run.server.connect("work") as connection:
        for statement in run.side.finished_rows.split(";"):
            await connection.execute(statement)
    await run.submit(items=1, seconds=0.0)
    run.fault()
    await run.worker()
