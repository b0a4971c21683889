"""Train the demonstration model with Hugging Face's own Gemma 4, on a time budget.

    python -m demo.train RUN_FOLDER --minutes 50

RUN_FOLDER keeps the vocabulary and a checkpoint; a run that was interrupted goes on
from there. The schedule follows the time spent, so that a slower machine ends with a
finished, if less trained, model.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import Gemma4ForCausalLM

from demo import corpus, model
from demo.chat_tokens import Encoder, learn_vocabulary
from demo.optimiser import Muon

CHUNK = 3000  # conversations that are sorted by length together
LONGEST = 320
BALANCE = 0.01  # weight of the load-balancing loss
IGNORED = -100
CHECKPOINT_SECONDS = 180
EVALUATION_SECONDS = 600
EVALUATION_QUESTIONS = 510


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations of about one length: ids [n, length], targets, real tokens."""

    ids: torch.Tensor
    targets: torch.Tensor
    valid: torch.Tensor


def batches(encoder: Encoder, seed: int, n_tokens: int) -> Iterator[Batch]:
    """Yield the batches of a chunk of the corpus, in random order."""
    items = []
    for item in corpus.generate(seed, CHUNK, "train"):
        ids = encoder.whole(item)
        if len(ids) <= LONGEST:
            items.append((ids, encoder.learned(item, ids)))
    rng = random.Random(seed)
    items.sort(key=lambda item: (len(item[0]), rng.random()))
    groups: list[list[tuple[list[int], list[bool]]]] = [[]]
    for item in items:
        if (len(groups[-1]) + 1) * len(item[0]) > n_tokens:
            groups.append([])
        groups[-1].append(item)
    rng.shuffle(groups)
    for group in groups:
        yield _batch(group)


def _batch(group: list[tuple[list[int], list[bool]]]) -> Batch:
    longest = max(len(ids) for ids, _ in group)
    ids = torch.zeros(len(group), longest, dtype=torch.long)
    targets = torch.full_like(ids, IGNORED)
    valid = torch.zeros_like(ids, dtype=torch.bool)
    for row, (tokens, spoken) in enumerate(group):
        n = len(tokens)
        ids[row, :n] = torch.tensor(tokens)
        valid[row, :n] = True
        marks = torch.tensor(spoken)
        targets[row, :n] = torch.where(marks, ids[row, :n], IGNORED)
    return Batch(ids, targets, valid)


def language_loss(gemma: Gemma4ForCausalLM, batch: Batch) -> torch.Tensor:
    """Return the mean loss over the tokens that the model writes."""
    # Padding comes last, where no real token sees it: no mask is needed.
    hidden = gemma.model(input_ids=batch.ids[:, :-1], use_cache=False)[0]
    targets = batch.targets[:, 1:]
    wanted = targets != IGNORED
    logits = gemma.lm_head(hidden[wanted]).float()
    cap = gemma.config.final_logit_softcapping
    return cross_entropy(cap * torch.tanh(logits / cap), targets[wanted])


def rate(progress: float, peak: float) -> float:
    """Return the learning rate: a short warm-up, then a cosine to 2 % of the peak."""
    if progress < 0.02:
        return peak * (progress + 0.0005) / 0.0205
    turn = (progress - 0.02) / 0.98
    return peak * (
        0.02 + 0.98 * 0.5 * (1 + float(torch.cos(torch.tensor(turn * torch.pi))))
    )


class Training:
    """A model with its optimisers, and how far it has come."""

    def __init__(self, folder: Path, changes: dict[str, Any], device: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.device = folder, device
        path = folder / "vocabulary.json"
        if not path.exists():
            Encoder(learn_vocabulary()).save(path)
        self.encoder = Encoder.load(path)
        n_vocab = len(self.encoder.vocabulary.tokens)
        sizes = model.config(n_vocab, self.encoder.ids, **changes)
        self.gemma = model.build(sizes).to(device)
        for layer in self.gemma.model.layers:
            layer.experts.forward = model.all_experts.__get__(layer.experts)
        self.routing = model.Routing(self.gemma)
        hidden = [w for layer in self.gemma.model.layers for w in model.matrices(layer)]
        names = {id(weight) for weight in hidden}
        others = [w for w in self.gemma.parameters() if id(w) not in names]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(hidden, lr=0.02),
            torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.peaks = [0.02, 4e-3]
        self.seconds = self.cpu_seconds = 0.0
        self.n_steps = self.n_tokens = self.chunk = 0

    def step(self, batch: Batch, progress: float) -> tuple[float, float]:
        """Take one step; return the language loss and the balance loss."""
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            optimiser.param_groups[0]["lr"] = rate(progress, peak)
        self.routing.begin(batch.valid[:, :-1])
        loss = language_loss(self.gemma, batch)
        balance = self.routing.loss()
        (loss + BALANCE * balance).backward()
        nn.utils.clip_grad_norm_(self.gemma.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.n_steps += 1
        self.n_tokens += int(batch.valid.sum())
        return float(loss.detach()), float(balance.detach())

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "model": self.gemma.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "counts": (
                self.seconds,
                self.cpu_seconds,
                self.n_steps,
                self.n_tokens,
                self.chunk,
            ),
            "config": self.gemma.config.to_dict(),
        }
        draft = self.folder / "checkpoint.draft"
        torch.save(state, draft)
        os.replace(draft, self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=False)
        self.gemma.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        counts = state["counts"]
        self.seconds, self.cpu_seconds, self.n_steps, self.n_tokens, self.chunk = counts

    def run(self, minutes: float, n_tokens: int) -> None:
        """Train until the budget is spent, printing and saving on the way."""
        budget = minutes * 60
        saved = evaluated = shown = self.seconds
        losses: list[float] = []
        while self.seconds < budget:
            for batch in batches(self.encoder, self.chunk, n_tokens):
                began, cpu = time.monotonic(), time.process_time()
                moved = Batch(
                    *(getattr(batch, n).to(self.device) for n in Batch.__slots__)
                )
                loss, balance = self.step(moved, self.seconds / budget)
                self.seconds += time.monotonic() - began
                self.cpu_seconds += time.process_time() - cpu
                losses.append(loss)
                if self.seconds - shown > 20:
                    self._print(losses, balance)
                    losses, shown = [], self.seconds
                if self.seconds >= budget:
                    break
            self.chunk += 1
            if self.seconds - saved > CHECKPOINT_SECONDS or self.seconds >= budget:
                self.save()
                saved = self.seconds
            if self.seconds - evaluated > EVALUATION_SECONDS or self.seconds >= budget:
                self._evaluate()
                evaluated = self.seconds

    def _print(self, losses: list[float], balance: float) -> None:
        mean = sum(losses) / len(losses)
        speed = self.n_tokens / self.seconds
        print(
            f"{self.seconds / 60:6.2f} min  cpu {self.cpu_seconds / 60:6.2f} min  "
            f"step {self.n_steps:5d}  {self.n_tokens / 1e6:6.2f} M tokens  "
            f"{speed:6.0f}/s  loss {mean:.4f}  balance {balance:.3f}",
            flush=True,
        )

    def _evaluate(self) -> None:
        """Print the share of held-out replies that are right, and expert use."""
        from demo.evaluate import accuracy, expert_table, expert_use, questions, table

        began = time.monotonic()
        self.routing.is_watching = False
        scores = accuracy(
            self.gemma, self.encoder, questions(EVALUATION_QUESTIONS, seed=99)
        )
        self.routing.is_watching = True
        print(table(scores))
        print(expert_table(expert_use(self.gemma, self.routing, self.encoder)))
        print(f"evaluated in {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """Train, or go on training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--hidden", type=int, default=160)
    parser.add_argument("--pattern", default=model.PATTERN)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    changes = {"hidden_size": args.hidden, "pattern": args.pattern}
    training = Training(args.folder, changes, device)
    training.resume()
    n = sum(weight.numel() for weight in training.gemma.parameters())
    print(
        f"{n:,} parameters, {len(training.encoder.vocabulary.tokens)} tokens",
        flush=True,
    )
    training.run(args.minutes, args.batch_tokens)


if __name__ == "__main__":
    main()
