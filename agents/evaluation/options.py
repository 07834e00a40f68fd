"""The flags of ``evaluate.py``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from o1nano.agents.evaluation.held_out import standard_levels
from o1nano.agents.evaluation.reports import check_writable
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Level, Phrasing, read_level
from o1nano.envs.ranges import Range, check_ranges
from o1nano.policies.device import find_device
from o1nano.policies.search.options import MAX_PATHS, SearchOptions


@dataclass(frozen=True)
class Options:
    """What to do with a model."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """An o1_model.pth or the folder of a run. By default the newest under runs/, or the shipped model if there is
    none."""
    ask: str | None = None
    """Answer one problem, such as "Calculate the sum of 98 and 45"."""
    interactive: bool = False
    """Answer the problems that you type, until end of file."""
    serve: bool = False
    """Open a page on this machine that shows how the model thinks (needs the extra demo)."""
    port: Annotated[int, Range(0, 65535)] = 0
    """Where --serve listens; 0 for a free port."""
    problems: Path | None = None
    """Answer a file: JSON lines {"problem": ..., "answer": ...}, or plain text with one problem a line."""
    json: Path | None = None
    """Write the results as JSON."""
    show_reasoning: bool = False
    """Show the hidden reasoning too, as a tree of frames."""
    problems_per_level: Annotated[int, Range(1, 10**6)] = 200
    """Held-out problems of each task and size, all different. If the test split has fewer, all of them."""
    sum_digits: Annotated[int, Range(1, 1000)] = 6
    """Largest size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest size of products and quotients."""
    extra_levels: tuple[str, ...] = ()
    """Other levels, as expression/1x3: FAMILY/SIZE or FAMILY/SIZExOTHER."""
    phrasing: Phrasing = "mixed"
    """How held-out problems are written: symbolic, words, mixed, or everyday, which is every way that is read."""
    seed: int = 0
    """Chooses the held-out problems and the samples."""
    # Its flags stand beside the others: --paths, not --search.paths.
    search: tyro.conf.OmitArgPrefixes[SearchOptions] = field(default_factory=SearchOptions)
    probe: bool = False
    """Does it reason? Change the hidden tokens of held-out problems and measure the answers."""
    pass_at: Annotated[tuple[int, ...], Range(1, MAX_PATHS)] = ()
    """Measure pass@k for these k, such as 1 16 256: the share of problems that are solved at least once in k samples.
    Every problem is sampled as often as the largest k says."""
    batch: Annotated[int, Range(1, 2**16)] = 256
    """Call stacks that are decoded together."""
    device: str = "cpu"
    """cpu, cuda or auto."""
    quiet: bool = False
    """Show no progress."""

    @property
    def levels(self) -> list[Level]:
        """The levels that are measured, each once."""
        extra = [read_level(name) for name in self.extra_levels]

        # An extra level can be one of the standard table.
        return list(dict.fromkeys(standard_levels(self.sum_digits, self.product_digits) + extra))

    @property
    def is_asking(self) -> bool:
        """Whether someone waits for single answers."""
        return self.ask is not None or self.interactive or self.serve

    def validate(self) -> None:
        """Checks all values.

        Raises:
            ConfigurationError: If a value makes no sense, or two flags contradict each other.
        """
        check_ranges(self)
        _ = self.levels  # reads the names of extra levels, which may be wrong
        self.search.validate()
        find_device(self.device)
        self._check_combinations()

        # Known before the model answers anything: the results of an hour must not be lost for want of a folder.
        if self.json is not None:
            self._check_output(self.json)

    def _check_combinations(self) -> None:
        """Raises an error if flags contradict each other. What would have no effect is refused and not ignored."""
        modes = [self.ask is not None, self.interactive, self.serve, self.problems is not None, self.probe]

        # The page has its own controls for the search, and a probe is made of single greedy paths.
        has_search = self.search != SearchOptions()
        contradictions = (
            (sum(modes) > 1, "several of --ask, --interactive, --serve, --problems and --probe; expected one of them"),
            (
                self.json is not None and self.is_asking,
                "--json with --ask, --interactive or --serve; expected --problems or a measurement with it",
            ),
            (
                self.search.select == "oracle" and self.is_asking,
                "--select oracle, which looks at the solution, with --ask, --interactive or --serve; expected another",
            ),
            (
                self.serve and (has_search or self.show_reasoning),
                "--serve with flags of a search or --show-reasoning; expected --serve alone: the page has them",
            ),
            (
                bool(self.pass_at) and (any(modes) or self.show_reasoning),
                "--pass-at with another mode or --show-reasoning; expected a measurement of sizes",
            ),
            (
                bool(self.pass_at) and replace(self.search, temperature=None) != SearchOptions(),
                "--pass-at with flags of a search; expected none but --temperature: every problem is sampled",
            ),
            (self.port != 0 and not self.serve, "--port without --serve; expected both"),
            (
                self.probe and (has_search or self.show_reasoning),
                "--probe with flags of a search or --show-reasoning; expected one greedy path",
            ),
        )
        for is_wrong, message in contradictions:
            if is_wrong:
                raise ConfigurationError(message)

    def _check_output(self, path: Path) -> None:
        check_writable("--json", path)

        # One file can have several names, so paths are compared by what they lead to.
        for given in (self.problems, self.model):
            if given is not None and path.exists() and given.exists() and path.samefile(given):
                raise ConfigurationError(f"--json {path} is also an input; expected another file")
