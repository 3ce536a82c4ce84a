"""Three gloo processes read one validation set: each its part, all of them the same scores."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing

from manifold_ocr.models.base import Recognition
from manifold_ocr.records import Sample
from manifold_ocr.training.processes import Agreement, from_first, read_shared

pytestmark = [pytest.mark.torch, pytest.mark.xdist_group("training_processes")]
PROCESSES = 3


def rows(count: int) -> list[Sample]:
    return [
        Sample(id=f"s{i}", document=f"d{i}", corpus="c", subset="all", image="x.png", text=f"t{i}")
        for i in range(count)
    ]


def member(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    asked: list[list[str]] = []
    scored: list[int] = []

    def read(samples: Any) -> Any:
        asked.append([sample.id for sample in samples])
        return (Recognition(sample.text, 0.5, rank) for sample in samples)

    def score() -> dict[str, float]:
        scored.append(rank)
        return {"cer": 0.25 + rank}

    found = [read_shared(read, rows(count)) for count in (7, 1)]
    agreement = Agreement()
    record = {
        "asked": asked,
        "read": [[[p.id, p.text, p.vision_tokens] for p in part] for part in found],
        "scores": from_first(score),
        "scored": scored,
        "stop": [agreement.any(False), agreement.any(rank == 1)],
    }
    (folder / f"{rank}.json").write_text(json.dumps(record), encoding="utf-8")
    distributed.destroy_process_group()


def test_each_process_reads_its_part_and_all_know_the_whole(tmp_path: Path) -> None:
    multiprocessing.start_processes(member, args=(tmp_path,), nprocs=PROCESSES, start_method="fork")
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(PROCESSES)]
    assert [record["asked"][0] for record in found] == [
        ["s0", "s3", "s6"],
        ["s1", "s4"],
        ["s2", "s5"],
    ]
    assert [record["asked"][1] for record in found] == [["s0"], [], []]
    whole = [[f"s{i}", f"t{i}", i % PROCESSES] for i in range(7)]
    for record in found:
        assert record["read"] == [whole, whole[:1]]
        assert record["scores"] == {"cer": 0.25}
        assert record["stop"] == [False, True]
    assert [record["scored"] for record in found] == [[0], [], []]
