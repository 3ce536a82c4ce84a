"""Validation during training: the evaluator's own scorer on generated text (torch-free)."""

from collections.abc import Sequence
from pathlib import Path

from manifold_ocr import scoring
from manifold_ocr.files import write_json
from manifold_ocr.records import Prediction, Sample, read_predictions, write_rows

BOOTSTRAP_SAMPLES = 200  # intervals in eval_results.json; the stage evaluate draws its own


class Scorer:
    """Scores what validation rows were read as, with the evaluator's own code.

    The reading before the first step is the baseline; each later one is written to
    eval_results.json in the schema of metrics/evaluate.json.
    """

    def __init__(self, samples: Sequence[Sample], baseline: Path, results: Path) -> None:
        self.samples = samples
        self.baseline = baseline
        self.results = results

    def __call__(self, predictions: list[Prediction], step: int) -> dict[str, float]:
        """Return the headline metrics of the reading at `step`."""
        config = scoring.EvaluateConfig(bootstrap_samples=BOOTSTRAP_SAMPLES)
        rows = scoring.score_rows(self.samples, predictions, config)
        if step == 0:
            write_rows(self.baseline, predictions)
        before = rows
        if self.baseline.is_file():
            before = scoring.score_rows(self.samples, read_predictions(self.baseline), config)
        report = {"step": step, **scoring.evaluation(rows, before, config)}
        write_json(self.results, report)
        headline = report["adapter"]["overall"]
        names = ("cer", "ned", "wer", "character_accuracy", "token_f1", "exact_match")
        scores = {name: float(headline[name]) for name in names if name in headline}
        for subset, values in report["adapter"]["by_subset"].items():
            scores[f"cer_{subset}"] = float(values["cer"])
        return scores
