"""Selects one answer from several attempts. Length is never a criterion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from o1nano.policies.search.answers import Answer
from o1nano.policies.search.options import Select


def select_answer(answers: Sequence[Answer], select: Select, checks_passed: Sequence[int] | None = None) -> Answer:
    """Returns the answer that is chosen.

    Attempts without an answer are considered only if there is no other. Ties are broken by the number of attempts that
    gave the same answer, then by likelihood.

    Args:
        answers: Attempts at one problem.
        select: ``"majority"``: the most frequent answer. ``"likelihood"``: that of the likeliest attempt. ``"check"``:
            the one that passed most checks. ``"oracle"``: a right one, if there is one. The oracle looks at the
            solution, so it is an upper bound and not a way to answer.
        checks_passed: For ``"check"``, how many checks each answer has passed.
    """
    # Attempts without an answer do not vote.
    votes = Counter(answer.text for answer in answers if answer.text)

    # What counts most comes first in the tuple; for a majority that is the number of votes itself.
    def rank(index: int) -> tuple[bool, float, int, float]:
        answer = answers[index]
        if select == "likelihood":
            merit = answer.log_prob
        elif select == "check" and checks_passed is not None:
            merit = checks_passed[index]
        elif select == "oracle":
            merit = float(answer.correct)
        else:
            merit = 0.0
        return bool(answer.text), merit, votes[answer.text], answer.log_prob

    return answers[max(range(len(answers)), key=rank)]


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Returns the unbiased estimate that at least one of k attempts is right (Chen et al. 2021, equation 1).

    Args:
        n: Attempts that were made.
        correct: How many of them were right.
        k: Attempts in question, at most ``n``.
    """
    # Draw k of the n attempts without putting them back; each factor is the chance that the next one is wrong too.
    all_wrong = 1.0
    for i in range(k):
        # Once all wrong attempts are drawn, the next one must be right.
        all_wrong *= max(0, n - correct - i) / (n - i)
    return 1.0 - all_wrong
