"""Confidence of greedy generation: the mean probability of the chosen tokens."""

import torch
from torch import Tensor
from transformers import LogitsProcessor


class ConfidenceRecorder(LogitsProcessor):
    """Record each step's highest probability; averages stop at a row's end of text.

    Keeps [rows] floats a step instead of all scores ([rows, vocabulary] a step).
    """

    def __init__(self, eos_token_id: int | list[int]) -> None:
        self.ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        self.steps: list[tuple[Tensor, Tensor]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note the probability and whether the choice ends the text; return `scores` as is."""
        best, token = scores.max(dim=-1)
        probability = torch.exp(best.float() - torch.logsumexp(scores.float(), dim=-1))
        ends = torch.zeros_like(token, dtype=torch.bool)
        for end in self.ends:
            ends |= token == end
        self.steps.append((probability, ends))
        return scores

    def means(self) -> list[float]:
        """Return the mean probability of each row's tokens up to and including its end."""
        probability = torch.stack([step[0] for step in self.steps], dim=1).cpu()
        ended = torch.stack([step[1] for step in self.steps], dim=1).cpu().int().cumsum(1)
        counted = torch.cat([torch.ones_like(ended[:, :1]), (ended[:, :-1] == 0).int()], dim=1)
        return ((probability * counted).sum(1) / counted.sum(1)).tolist()
