"""transformers without its messages; apart from LoRA, so that PEFT is not imported for them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_library_notes() -> Iterator[None]:
    """Hide progress bars, load reports and notes that only the libraries can fix."""
    from transformers.utils import logging as library_logging

    verbosity = library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for note in (".*gradient_checkpointing", ".*broadcast_buffers"):
                warnings.filterwarnings("ignore", message=note, category=Warning)
            yield
    finally:
        library_logging.enable_progress_bar()
        library_logging.set_verbosity(verbosity)
