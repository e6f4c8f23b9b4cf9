"""What a bench concludes from its times."""

import dataclasses

import pytest

from procwatch.bench.show import bar
from procwatch.bench.verdict import Mode, Stage, Trial, judge, kind_of, speedup_in, worker_counts

pytestmark = pytest.mark.unit

CPU = (Stage(name="read", wall_s=0.01, cpu_s=0.0), Stage(name="decode", wall_s=1.0, cpu_s=0.99))
DISK = (Stage(name="read", wall_s=3.0, cpu_s=0.1), Stage(name="decode", wall_s=1.0, cpu_s=0.99))


def trial(mode: Mode, workers: int, speedup: float) -> Trial:
    return Trial(
        mode=mode,
        workers=workers,
        speedup=speedup,
        images_per_s=10 * speedup,
        lowest=9 * speedup,
        highest=11 * speedup,
        worker_rss_bytes=100 * 1024**2 if mode == "processes" else 0,
    )


def processes(*speedups: float) -> list[Trial]:
    return [trial("processes", number, speedup) for number, speedup in enumerate(speedups, 1)]


def test_work_that_keeps_the_cpu_busy_is_cpu_bound() -> None:
    kind, share = kind_of(CPU)
    assert kind == "cpu"
    assert share == pytest.approx(0.98, abs=0.01)


def test_work_that_waits_for_its_files_is_disk_bound_and_it_says_for_which_stage() -> None:
    verdict = judge(DISK, processes(1.0, 1.9, 2.6, 3.0), cpus=2)
    assert verdict.kind == "disk"
    assert "waits most in read" in verdict.text[0]
    assert verdict.workers == 4  # more workers than CPUs, because they wait


def test_other_programs_are_not_taken_for_the_disk() -> None:
    queued = (Stage(name="decode", wall_s=2.0, cpu_s=0.98, queued_s=1.0),)
    assert kind_of(queued)[0] == "cpu"
    assert any("Other programs took 50%" in line for line in judge(queued, processes(1.0), cpus=1).text)
    assert not any("Other programs" in line for line in judge(CPU, processes(1.0), cpus=1).text)


def test_the_fewest_workers_that_are_as_fast_as_any_are_chosen() -> None:
    verdict = judge(CPU, processes(1.0, 1.95, 1.97, 1.99), cpus=2)
    assert verdict.workers == 2
    assert verdict.speedup == 1.95


def test_workers_whose_rounds_reach_the_best_are_as_fast_and_it_says_that_they_are_uneven() -> None:
    two = dataclasses.replace(trial("processes", 2, 1.22), images_per_s=19.0, lowest=11.8, highest=26.2)
    four = dataclasses.replace(trial("processes", 4, 1.58), images_per_s=24.6, lowest=24.4, highest=24.7)
    verdict = judge(CPU, [trial("processes", 1, 1.0), two, four], cpus=2)
    assert verdict.workers == 2
    assert any(line.startswith("The rounds differ by 76%") for line in verdict.text)


def test_more_workers_only_cost_is_said_with_the_memory_that_they_take() -> None:
    verdict = judge(CPU, processes(1.0, 1.95, 1.9, 1.85), cpus=2)
    (line,) = [line for line in verdict.text if line.startswith("More workers only cost")]
    assert "4 change the speed by -5%" in line
    assert "200 MiB more memory" in line


def test_threads_are_compared_at_the_same_number() -> None:
    slow = judge(CPU, [*processes(1.0, 1.9), trial("threads", 2, 1.0)], cpus=2)
    assert any("processes are 90% faster" in line for line in slow.text)
    same = judge(CPU, [*processes(1.0, 1.9), trial("threads", 2, 1.9)], cpus=2)
    assert any("keep a crash" in line for line in same.text)


def test_a_file_at_the_edge_of_the_window_counts_by_its_part_inside() -> None:
    costs_s = {0: 1.0, 1: 2.0}
    # Two workers side by side, each at its full speed, from 0 to 4 s; one file reaches beyond.
    spans = [(0, 0.0, 1.0), (0, 1.0, 2.0), (1, 2.0, 4.0), (1, 0.0, 2.0), (1, 2.0, 4.0)]
    assert speedup_in(spans, costs_s, (0.0, 4.0)) == pytest.approx(2.0)
    assert speedup_in(spans, costs_s, (0.0, 3.0)) == pytest.approx(2.0)
    # Sharing one CPU each takes twice as long: no gain.
    assert speedup_in([(0, 0.0, 2.0), (0, 0.0, 2.0)], costs_s, (0.0, 2.0)) == pytest.approx(1.0)


def test_no_work_in_the_window_is_no_speed() -> None:
    assert speedup_in([(0, 5.0, 6.0)], {0: 1.0}, (0.0, 4.0)) == 0.0


@pytest.mark.parametrize(
    ("cpus", "counts"),
    [
        (1, [1, 2]),
        (2, [1, 2, 4]),
        (4, [1, 2, 3, 4, 8]),
        (12, [1, 2, 4, 8, 12, 24]),
        (16, [1, 2, 4, 8, 16, 32]),
    ],
)
def test_workers_are_tried_up_to_twice_the_cpus(cpus: int, counts: list[int]) -> None:
    assert worker_counts(cpus) == counts


def test_a_bar_is_as_long_as_its_share() -> None:
    assert [len(bar(share)) for share in (0.0, 0.5, 1.0, 7.0)] == [0, 8, 16, 16]
    assert bar(0.5 + 1 / 32).endswith("▌")
