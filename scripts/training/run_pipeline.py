"""The playbook's entry point: `python scripts/training/run_pipeline.py train --epochs 3`.

The same as `manifold-ocr pipeline`; docs/playbook.md lists steps, flags and variables.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from manifold_ocr.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["pipeline"]
    main()
