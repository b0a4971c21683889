"""What the times of several engines at one prompt mean.

The best of several runs counts, since other work only ever takes time. A speed means
nothing without the tokens: those of each engine are compared with ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.players import Player, PlayerError, Run
from bench.prompts import Prompt
from bench.tables import aligned


@dataclass(frozen=True, slots=True)
class Point:
    """All runs at one length of prompt, by engine, and who they are held to."""

    n_prompt: int
    runs: dict[str, list[Run]]
    hosts: dict[str, str]
    copies: dict[str, float]

    def best(self, name: str, phase: str) -> float:
        """Return an engine's speed: the best of its runs."""
        return max(getattr(run, f"{phase}_speed") for run in self.runs[name])

    def ratio(self, name: str, phase: str) -> float:
        """Return how many times as fast ours is; 0 where ours did not run."""
        ours, theirs = self.hosts[name], self.best(name, phase)
        known = ours in self.runs and theirs > 0
        return self.best(ours, phase) / theirs if known else 0.0

    def floor(self, name: str, phase: str) -> float:
        """Return the speed that the bandwidth of a copy would allow, 0 if unknown.

        A step reads what our own step needs; reading a prompt takes all weights of one
        step at least once.
        """
        ours = self.runs.get(self.hosts[name]) or [Run((), 0, 0, 0.0, 0.0)]
        weights, keys = ours[0].weight_bytes, ours[0].kv_bytes
        if not weights:
            return 0.0
        if phase == "decode":
            return self.copies[name] / (weights + keys)
        return self.n_prompt * self.copies[name] / weights

    def agreement(self, name: str) -> str:
        """Say how many tokens are those of ours, from the first on."""
        ours, theirs = self.runs.get(self.hosts[name]), self.runs[name][0].ids
        if name == self.hosts[name] or not ours or not theirs:
            return ""
        n = min(len(ours[0].ids), len(theirs))
        return f"{n_equal(ours[0].ids, theirs)}/{n}"


def n_equal(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Count the equal tokens at the beginning."""
    pairs = list(zip(ours, theirs, strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def alternate(
    players: Sequence[Player], prompt: Prompt, n: int, repeats: int
) -> tuple[Point, dict[str, str]]:
    """Let all play a prompt in turn; the first round, which compiles, does not count.

    Returns with the runs why an engine has none.
    """
    runs: dict[str, list[Run]] = {}
    failed: dict[str, str] = {}
    for i in range(repeats + 1):
        for player in players:
            if player.name in failed:
                continue
            try:
                found = player.play(prompt, n)
            except PlayerError as error:
                failed[player.name] = str(error)
                runs.pop(player.name, None)
                continue
            if i:
                runs.setdefault(player.name, []).append(found)
    hosts = {player.name: player.host for player in players}
    copies = {player.name: player.copy_bytes_per_second for player in players}
    return Point(len(prompt.ids), runs, hosts, copies), failed


def table(point: Point, phase: str) -> str:
    """Lay the speeds out, an engine per row."""
    rows = [
        (f"{point.n_prompt} tokens", "tok/s", "ms", "of floor", "ours is", "equal ids")
    ]
    for name, runs in point.runs.items():
        speed, ratio = point.best(name, phase), point.ratio(name, phase)
        floor = point.floor(name, phase)
        per = 1e3 / speed if phase == "decode" and speed else 0.0
        if phase == "prefill":
            per = 1e3 * min(run.prefill_seconds for run in runs)
        is_ours = name == point.hosts[name]
        rows.append(
            (
                name,
                f"{speed:.2f}",
                f"{per:.1f}",
                f"{100 * speed / floor:.1f} %" if floor else "",
                f"× {ratio:.2f}" if ratio and not is_ours else "",
                point.agreement(name),
            )
        )
    return aligned(rows)


def summary(point: Point, phase: str) -> dict[str, object]:
    """Return a point's figures by engine."""
    return {
        "n_prompt": point.n_prompt,
        "engines": {
            name: {
                "tokens_per_second": point.best(name, phase),
                "share_of_floor": point.best(name, phase) / floor
                if (floor := point.floor(name, phase))
                else None,
                "ours_is_times": point.ratio(name, phase) or None,
                "equal_ids": point.agreement(name) or None,
                "runs": [asdict(run) for run in runs],
            }
            for name, runs in point.runs.items()
        },
    }
