"""What `dvc repro` would run, from dvc.yaml, dvc.lock and git alone: no data is needed.

An input that no stage made is compared with its hash in dvc.lock. An input that a stage made and
that is not here (data is in no fresh clone) is compared by the two hashes in dvc.lock: the one
that its maker wrote, and the one that its user read. What follows from a stage may run as well,
unless its outs are all `persist` and in git: such a check writes the same again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manifold_ocr.errors import UserError


@dataclass(frozen=True, slots=True)
class Stale:
    """A stage that would run, and why; empty reasons: only what it needs would run before it."""

    stage: str
    reasons: tuple[str, ...]


def stale_stages() -> list[Stale]:
    """Return the stages of ./dvc.yaml that would run, in the order in which they would.

    Raises:
        UserError: no DVC project here, or a dvc.yaml or dvc.lock that DVC cannot read.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            graph = repo.index.graph  # a stage points at those that it needs
            makers = {out.fs_path: out for stage in repo.index.stages for out in stage.outs}
            found: dict[str, Stale] = {}
            moving: set[str] = set()  # whose outs may become others
            for stage in reversed(list(networkx.topological_sort(graph))):
                if not getattr(stage, "cmd", None):
                    continue
                reasons = tuple(dict.fromkeys(_reasons(stage, makers)))
                if reasons or any(need.addressing in moving for need in graph.successors(stage)):
                    found[stage.addressing] = Stale(stage.addressing, reasons)
                    if any(out.use_cache or not out.persist for out in stage.outs):
                        moving.add(stage.addressing)
    except DvcException as error:
        raise UserError(f"dvc: {' '.join(str(error).split())}") from error
    return list(found.values())


def _reasons(stage: Any, makers: Mapping[str, Any]) -> Iterator[str]:
    if stage.cmd_changed:
        yield "its command changed"
    for dep in stage.deps:
        for path, state in dep.workspace_status().items():
            if isinstance(state, dict):  # of a params file: key -> state
                yield from (f"{key} {_word(change)}" for key, change in state.items())
            elif state != "deleted":
                yield f"{path} {_word(state)}"
            elif not _below(dep.fs_path, makers):
                yield f"{path} is missing"
            elif dep.fs_path in makers and makers[dep.fs_path].hash_info != dep.hash_info:
                yield f"{path} was made anew since"
    for out in stage.outs:
        if out.use_cache:
            continue  # kept by DVC, so not here
        for path, state in out.workspace_status().items():
            yield f"{path} {'is missing' if state == 'deleted' else 'is not what it wrote'}"


def _word(state: str) -> str:
    return {"modified": "changed", "new": "is not in dvc.lock", "deleted": "is missing"}.get(
        state, state
    )


def _below(path: str, makers: Mapping[str, Any]) -> bool:
    return any(path == made or path.startswith(f"{made}/") for made in makers)
