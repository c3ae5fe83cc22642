"""The scenarios of bench/faults.py. Each breaks something; what became of the work is counted by
the stage. Times are from the fault (an outage: from Postgres being back) to the next sign of
progress of every job, unless the title says otherwise.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable

from faults.proxy import Proxy, Weather
from faults.steps import Moment
from sides import LEASE_SECONDS, Evalqueue
from stage import BOUND_SECONDS, PROMPT_SECONDS, Scenario, Scene, in_seconds

FROZEN_SECONDS = 60.0
NET_DELAY = 0.02  # seconds, each way
GRACE = "--shutdown-graceful-timeout=2"
HEARTBEAT_PATIENCE = 25.0  # seconds after which a heartbeat that comes every 10 is gone

SCENARIOS: dict[str, tuple[str, Scenario]] = {}


def scenario(name: str, title: str) -> Callable[[Scenario], Scenario]:
    def named(play: Scenario) -> Scenario:
        SCENARIOS[name] = (title, play)
        return play

    return named


@scenario("kill", "SIGKILL mid-job")
async def _kill(scene: Scene) -> None:
    victim = await scene.worker()
    job = await scene.submit()
    await scene.until_effects(job, 4)
    await scene.worker()
    scene.fault()
    await victim.close()


@scenario("kill-before-finish", "SIGKILL between result and finish")
async def _kill_before_finish(scene: Scene) -> None:
    proxy = await scene.network()
    victim = await scene.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(scene.side.finish, Moment.BEFORE)
    await scene.submit(items=4)
    await trap.sprung.wait()
    await scene.worker()
    scene.fault()
    await victim.close()


@scenario("freeze", f"SIGSTOP for {FROZEN_SECONDS:.0f} s, then SIGCONT (from the SIGSTOP)")
async def _freeze(scene: Scene) -> None:
    frozen = await scene.worker()
    job = await scene.submit()
    await scene.until_effects(job, 4)
    await scene.worker()
    scene.fault()
    frozen.say(signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS)
    frozen.say(signal.SIGCONT)
    await asyncio.sleep(5.0)  # whatever it still has to say


@scenario("deploy", "SIGTERM with a job longer than the grace of 2 s")
async def _deploy(scene: Scene) -> None:
    stopped = await scene.worker(GRACE)
    job = await scene.submit(items=20, seconds=0.5)
    await scene.until_effects(job, 2)
    await scene.worker()
    stopped.say(signal.SIGTERM)
    await stopped.gone()
    scene.fault()


@scenario("outage-1", "Postgres gone for 1 s")
async def _outage_1(scene: Scene) -> None:
    await _outage(scene, 1.0)


@scenario("outage-15", "Postgres gone for 15 s")
async def _outage_15(scene: Scene) -> None:
    await _outage(scene, 15.0)


@scenario("outage-120", "Postgres gone for 120 s")
async def _outage_120(scene: Scene) -> None:
    await _outage(scene, 120.0)


@scenario("outage-40-idle", "Postgres gone for 40 s, two idle workers (to a new job of each)")
async def _outage_40_idle(scene: Scene) -> None:
    for _ in range(2):
        await scene.worker("--concurrency=1")
    async with scene.server.outage():
        await asyncio.sleep(40.0)
    scene.fault()
    for _ in range(2):
        await scene.submit(items=4, seconds=1.0)


async def _outage(scene: Scene, seconds: float) -> None:
    """A job with 40 s of work is under way; pick-ups are tried once all has had time to settle."""
    await scene.worker()
    job = await scene.submit(items=80, seconds=0.5)
    await scene.until_effects(job, 4)
    await scene.worker()
    async with scene.server.outage():
        await asyncio.sleep(seconds)
    scene.fault()
    await scene.submit(items=1, seconds=0.0)
    await asyncio.sleep(HEARTBEAT_PATIENCE)
    scene.note_pick_ups(await scene.pick_ups(3))
    if not isinstance(scene.side, Evalqueue):
        silent = await scene.watch.value(
            "SELECT count(*) FROM procrastinate_workers AS w "
            "WHERE last_heartbeat < now() - make_interval(secs => %s) AND EXISTS "
            "(SELECT FROM procrastinate_jobs WHERE worker_id = w.id AND status = 'doing')",
            HEARTBEAT_PATIENCE,
        )
        if silent:
            scene.notes.append(f"{silent} worker(s) at work without a heartbeat")


@scenario("finish-in-outage", "A job finishes while Postgres is gone for 15 s")
async def _finish_in_outage(scene: Scene) -> None:
    proxy = await scene.network()
    await scene.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(scene.side.finish, Moment.BEFORE)
    await scene.submit(items=4)
    await trap.sprung.wait()
    await scene.worker()
    async with scene.server.outage():
        proxy.reset_all()
        await asyncio.sleep(15.0)
    scene.fault()


@scenario("listen-ended", "The LISTEN session is terminated (pick-up of a new job after 5 s)")
async def _listen_ended(scene: Scene) -> None:
    for _ in range(2):
        await scene.worker()
    await scene.watch.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query ILIKE 'listen%%' AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(5.0)
    lags = await scene.pick_ups(4)
    scene.recovered = lags[0]
    scene.note_pick_ups(lags)


@scenario("listen-half-open", "The LISTEN connection goes half-open (until pick-ups are prompt)")
async def _listen_half_open(scene: Scene) -> None:
    proxy = await scene.network()
    await scene.worker(through=proxy.port)
    await proxy.until(lambda link: link.listens)
    await scene.pick_up()
    scene.fault()
    proxy.strand(lambda link: link.listens)
    lags: list[float] = []
    while len(lags) < 3 or max(lags[-3:]) >= PROMPT_SECONDS:
        if time.time() - scene.fault_at > BOUND_SECONDS:
            scene.notes.append("never prompt again")
            break
        lags.append(await scene.pick_up(bound=35.0))
        scene.recovered = time.time() - scene.fault_at
        await asyncio.sleep(1.0)
    scene.note_pick_ups(lags)


@scenario("half-open", "A connection goes half-open under a statement; its peer acknowledges")
async def _half_open(scene: Scene) -> None:
    """As behind a balancer that hangs: no timeout of TCP's ends it, and other connections work."""
    proxy = await scene.network()
    await scene.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(rf"evalqueue_hold_job|{scene.side.finish}", Moment.BEFORE)  # for ever
    await scene.submit(items=4)
    await trap.sprung.wait()
    await scene.worker()
    scene.fault()


@scenario("notify-in-fetch", "12 NOTIFYs while an empty fetch is on its way back (20 ms network)")
async def _notify_in_fetch(scene: Scene) -> None:
    proxy = await scene.network()
    await scene.worker(through=proxy.port)
    proxy.delay_seconds = NET_DELAY
    lags: list[float] = []
    while len(lags) < 12:
        lag = await _pick_up_told_of_in_a_fetch(scene, proxy)
        if lag is not None:
            lags.append(lag)
    scene.recovered = max(lags)
    scene.note_pick_ups(lags)


async def _pick_up_told_of_in_a_fetch(scene: Scene, proxy: Proxy) -> float | None:
    """Its lag; None: the fetch that was caught was another one."""
    await asyncio.sleep(0.5)  # the worker has nothing to do, and nothing on its way
    trap = proxy.trap(scene.side.claim, Moment.AFTER, nth=2)  # the second one finds nothing
    primer = await scene.submit(items=1, seconds=0.0)
    await trap.sprung.wait()
    try:
        await scene.until_effects(primer, 1, bound=1.0)
        picked_up = asyncio.create_task(scene.pick_up())
        await asyncio.sleep(0.2)  # told, while the answer to the fetch is still on its way
    except TimeoutError:
        return None
    finally:
        trap.released.set()
        proxy.traps.remove(trap)
    return await picked_up


@scenario("cancel", "Cancel of a running job that has retries")
async def _cancel(scene: Scene) -> None:
    for _ in range(2):
        await scene.worker()
    job = await scene.submit(items=20, seconds=0.5)
    await scene.until_effects(job, 2)
    scene.fault()
    await scene.cancel(job)


@scenario("cancel-orphan", "Cancel of a job whose worker was killed")
async def _cancel_orphan(scene: Scene) -> None:
    victim = await scene.worker()
    job = await scene.submit(items=20, seconds=0.5)
    await scene.until_effects(job, 2)
    await scene.worker()
    await victim.close()
    scene.fault()
    await scene.cancel(job)


@scenario("cancel-in-drain", "Cancel while its worker drains after SIGTERM")
async def _cancel_in_drain(scene: Scene) -> None:
    drained = await scene.worker()
    job = await scene.submit(items=20, seconds=0.5)
    await scene.until_effects(job, 2)
    await scene.worker()
    drained.say(signal.SIGTERM)
    await asyncio.sleep(1.0)
    scene.fault()
    await scene.cancel(job)


@scenario("zombie", "A finish that arrives after the job was taken back and runs elsewhere")
async def _zombie(scene: Scene) -> None:
    proxy = await scene.network()
    await scene.worker(kind="alone", through=proxy.port)
    trap = proxy.trap(scene.side.finish, Moment.BEFORE)
    rests = {"later_attempts_rest": 8.0} if isinstance(scene.side, Evalqueue) else {}
    job = await scene.submit(items=8, seconds=0.5, **rests)
    await trap.sprung.wait()
    proxy.weather = Weather.SILENT
    await scene.worker()
    scene.fault()
    if isinstance(scene.side, Evalqueue):
        await asyncio.sleep(LEASE_SECONDS + 1.0)
    await scene.side.take_back(scene.address, job)
    await scene.until_attempt_again(job)
    await asyncio.sleep(1.0)
    proxy.weather = Weather.FAIR
    trap.released.set()
    await asyncio.sleep(1.0)
    if await scene.state(job) == "done":
        scene.notes.append("done by a zombie's word while another works on it")
    scene.recovered = time.time() - scene.fault_at
    await asyncio.sleep(6.0)


@scenario("poison", "A job that kills its worker each time (until it is failed with that reason)")
async def _poison(scene: Scene) -> None:
    for _ in range(2):
        await scene.worker()
    scene.fault()
    await scene.submit(items=4, kills_its_worker=True, end="failed")


@scenario("bouncer", "PgBouncer in transaction mode, nothing else configured (12 pick-ups)")
async def _bouncer(scene: Scene) -> None:
    port = await scene.pooler()
    worker = await scene.worker(through=port, listens=False)
    if await worker.until_told("pooler") if isinstance(scene.side, Evalqueue) else False:
        scene.notes.append("refuses to start, and says why")
        return
    await worker.until_told(scene.side.ready)
    await _pick_ups_behind_a_pooler(scene)


@scenario("bouncer-direct", "PgBouncer with what each side can do about it (12 pick-ups)")
async def _bouncer_direct(scene: Scene) -> None:
    port = await scene.pooler()
    await scene.worker(
        kind="pooled", through=port, listens=isinstance(scene.side, Evalqueue),
        EVALQUEUE_LISTEN_URL=scene.address,
    )  # fmt: skip
    await scene.workers[0].until_told(scene.side.ready)
    await asyncio.sleep(1.0)
    await _pick_ups_behind_a_pooler(scene)


async def _pick_ups_behind_a_pooler(scene: Scene) -> None:
    scene.fault()
    lags = await scene.pick_ups(12)
    scene.recovered = max(lags)
    scene.note_pick_ups(lags)


@scenario("scheduled", "12 scheduled jobs: the longest lag behind their moment")
async def _scheduled(scene: Scene) -> None:
    await scene.worker()
    dues = [in_seconds(2.0 + 0.7 * number) for number in range(12)]
    jobs = [await scene.submit(items=1, seconds=0.0, due=due) for due in dues]
    scene.recovered = 0.0
    for job, due in zip(jobs, dues, strict=True):
        await scene.until_effects(job, 1)
        moment = await scene.watch.value(
            "SELECT extract(epoch FROM min(at))::float8 FROM faults.effects "
            "WHERE job_id::text = %s",
            job,
        )
        scene.recovered = max(scene.recovered, moment - due.timestamp())


@scenario("retried", "4 jobs that ask for a retry after 1 s: the longest lag behind it")
async def _retried(scene: Scene) -> None:
    await scene.worker()
    for _ in range(4):
        scene.fault()
        job = await scene.submit(items=1, seconds=0.0, tries_again=1, after=1.0)
        await scene.until_effects(job, 1)
        first = time.time()
        while await scene.state(job) != "done" and time.time() - first < BOUND_SECONDS:
            await asyncio.sleep(0.02)
        scene.recovered = max(scene.recovered or 0.0, time.time() - first - 1.0)
        with contextlib.suppress(KeyError):
            # A task without a checkpoint does it all again; that is what "twice" counts elsewhere.
            del scene.wanted[job]


@scenario(
    "unknown-task", "A worker meets a task that only a newer one knows (from the start of that one)"
)
async def _unknown_task(scene: Scene) -> None:
    older = await scene.worker(kind="older")
    await scene.submit(items=1, seconds=0.0)
    await asyncio.sleep(3.0)
    older.say(signal.SIGTERM)
    await older.gone()
    scene.fault()
    await scene.worker()


@scenario("million", "Start with 1 M finished jobs and a dead worker's record (to the first job)")
async def _million(scene: Scene) -> None:
    async with await scene.server.connect("work") as connection:
        for statement in scene.side.finished_rows.split(";"):
            await connection.execute(statement)
    await scene.submit(items=1, seconds=0.0)
    scene.fault()
    await scene.worker()
