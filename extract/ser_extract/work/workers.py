"""What a worker process of an extraction does: models loaded once, units of work, commits in the background.

A unit whose worker died is given out again; after a second death its utterances go one by one and are announced, so that
the one which kills the process is known and recorded as failed. The rest of the shard is done.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice

from ser_base.workers import Jobs, Pool, Server
from ser_extract.encoders.source import Source
from ser_extract.encoders.stated import Packable
from ser_extract.job import ExtractJob
from ser_extract.work.shard import Assignment, ShardProcessor, UnitResult
from ser_extract.work.units import Unit

ACCELERATOR_THREADS = 4


@dataclass
class Task:
    """A unit on its way, with what is known about it.

    Attributes:
        unit: The work.
        deaths: Workers that died on it; from the second on its utterances go one by one.
        poison: Utterances that killed a worker.
        in_hand: Utterance that is being encoded, where they go one by one.
    """

    unit: Unit
    deaths: int = 0
    poison: list[str] = field(default_factory=list)
    in_hand: str | None = None

    @property
    def alone(self) -> bool:
        """Whether its utterances go one by one."""
        return self.deaths >= 2

    def died(self) -> None:
        """Its worker died: the utterance in hand is to blame, if one is known."""
        self.deaths += 1
        if self.in_hand is not None:
            self.poison.append(self.in_hand)
            self.in_hand = None


def server(job: ExtractJob, sources: Iterable[Source]) -> Server:
    """Starts the workers of one run, with the libraries that the encoders need."""
    names = ["torch", __name__, *(name for source in sources for name in libraries(source))]
    return Server(names, forks=job.on_cpu)


def libraries(source: Source) -> tuple[str, ...]:
    """Modules that the engine of an encoder needs."""
    if source.plugin is not None:
        return ()  # a foreign module may start threads, which a fork does not survive
    if Packable.fitting(source.config) is not None:
        return ("ser_extract.encoders.speech_engine",)
    kind = source.model_type.replace("-", "_")
    return "transformers.models.auto.modeling_auto", f"transformers.models.{kind}.modeling_{kind}"


def run_in_workers(
    assignment: Assignment,
    units: Sequence[Unit],
    count: int,
    devices: Sequence[str],
    stopping: Callable[[], int],
    progress: Callable[[str, int, float], None],
) -> Iterator[UnitResult]:
    """Yields results as they come; ends early when stopped.

    Args:
        assignment: What every worker gets.
        units: The work.
        count: Number of processes.
        devices: What they compute on, one after the other.
        stopping: Asked often; 1: give out nothing more; 2: drop everything.
        progress: Called with (modality, utterances, audio seconds) as they are done.
    """

    def heard(task: Task, news: str | tuple[str, int, float]) -> None:
        if isinstance(news, str):
            task.in_hand = news
        else:
            progress(*news)

    pool = Pool(
        work,
        (assignment,),
        [(device,) for device in islice(cycle(devices), count)],
        server(assignment.job, assignment.sources.values()),
        ahead=0 if assignment.job.on_cpu else 1,  # on a card the next unit waits while the last one is written
        stopping=stopping,
        heard=heard,
        died=Task.died,
    )
    for _, result in pool.run([Task(unit) for unit in units]):
        yield result


def work(jobs: Jobs, assignment: Assignment, device: str) -> None:
    """The worker: one thread of torch on a CPU; writes a unit while it encodes the next."""
    import torch

    threads = 1
    if device != "cpu":
        threads = ACCELERATOR_THREADS
        torch.cuda.set_device(device)
    torch.set_num_threads(threads)
    assignment = replace(assignment, job=assignment.job.model_copy(update={"device": device}))
    processor = ShardProcessor(assignment, threads)
    writing: Future[UnitResult] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="commit") as background:
        try:
            for task in jobs:
                if task.alone and writing is not None:  # what it announces is news of the oldest job
                    jobs.done(writing.result())
                    writing = None
                tell = partial(_progress, jobs, task.unit.modality)
                encoded = processor.encode(task.unit, tell, jobs.tell if task.alone else None, task.poison)
                if writing is not None:
                    jobs.done(writing.result())
                writing = background.submit(processor.commit, task.unit, *encoded)
                if not jobs.waiting:  # nothing to encode meanwhile
                    jobs.done(writing.result())
                    writing = None
        finally:
            processor.close()


def _progress(jobs: Jobs, modality: str, utterances: int, seconds: float) -> None:
    jobs.tell((modality, utterances, seconds))
