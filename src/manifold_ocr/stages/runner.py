"""How a stage is run from dvc.yaml: errors as one line, signals as 130, time and memory kept."""

import os
import signal
import sys
import time
from collections.abc import Callable

from manifold_ocr import resources
from manifold_ocr.errors import UserError, report_bug


def run_stage(name: str, stage: Callable[[], None]) -> None:
    """Run `stage`; when it cannot finish, print one line and exit with 2 (70: a bug, 130: stopped).

    SIGTERM ends it as Ctrl-C does, and so does the end of the dvc that started it: temporary
    folders are removed, and the status is told. Wall time in seconds and peak memory in GiB are
    noted (`resources.record`), never in an out.
    """
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, files cleaned up
    resources.end_with_launchers()
    try:
        stage()
    except UserError as error:
        print(f"error: {name}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run `dvc repro` again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        print(report_bug(error), file=sys.stderr)
        raise SystemExit(70) from None
    if int(os.environ.get("RANK", "0")) == 0:  # of a torchrun group the first process writes
        taken = {"seconds": time.monotonic() - started}
        resources.record(name, {**taken, "peak_memory_gib": resources.peak_memory_gib()})
