"""Loaders with workers begin the next epoch early, and give the same batches as those without."""

import pytest

pytestmark = pytest.mark.torch


def batches_of(workers: int, epochs: list[int]) -> list[list[int]]:
    from torch.utils.data import DataLoader

    from manifold_ocr.training.batches import StepSampler
    from manifold_ocr.training.loader import continue_epochs

    steps = StepSampler([3, 1, 2, 5, 4, 9, 7], 2, 1, seed=3)
    loader = DataLoader(
        list(range(7)),
        batch_sampler=steps,
        collate_fn=list,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    continue_epochs(loader, steps)
    found = []
    for epoch in epochs:
        steps.set_epoch(epoch)
        assert len(loader) == 4
        found.append(list(loader))
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()
    return found


@pytest.mark.parametrize("epochs", [[0, 1, 2], [2, 3], [0, 1, 0, 5, 6]])
def test_every_epoch_has_its_rows_in_its_order(epochs):
    found = batches_of(2, epochs)
    assert found == batches_of(0, epochs)
    assert all(
        sorted(row for batch in batches for row in batch) == list(range(7)) for batches in found
    )


def test_the_next_epoch_is_begun_before_this_one_ends():
    from torch.utils.data import DataLoader

    from manifold_ocr.training.batches import StepSampler
    from manifold_ocr.training.loader import continue_epochs

    steps = StepSampler([1] * 8, 1, 1, seed=0)
    loader = DataLoader(list(range(8)), batch_sampler=steps, num_workers=1, persistent_workers=True)
    continue_epochs(loader, steps)
    for number, _ in enumerate(loader):
        if number == 6:  # two batches are made ahead of the one that is taken
            assert loader.epochs.sizes == {0: 8}
            assert steps.epoch == 1
    loader._iterator._shutdown_workers()
