"""Sampling that depends only on a seed and a place, not on what else is in the batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from o1nano.policies.network.compiled import compiled, inlined

# Constants of SplitMix64: an odd step that visits all 2**64 states (from the golden ratio), and two factors that mix.
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def uniforms(seeds: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns one random number in [0, 1) of each stream, at any place (SplitMix64, Steele et al. 2014).

    Args:
        seeds: ``[N]`` seeds of the streams.
        counts: ``[N]`` which number of its stream is wanted.
    """
    drawn = np.empty(len(seeds))
    _uniforms(seeds, counts, drawn)
    return drawn


@compiled
def _uniforms(seeds: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64], drawn: npt.NDArray[np.float64]) -> None:
    for row in range(len(seeds)):
        # State number ``count + 1`` of the stream. A generator that counts its steps can jump to any of them.
        z = seeds[row] + (np.uint64(counts[row]) + np.uint64(1)) * _INCREMENT  # modulo 2**64

        # The output function: neighbouring states become unrelated numbers.
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        z ^= z >> np.uint64(31)

        # The upper 53 bits fill the significand of a float64.
        drawn[row] = np.float64(z >> np.uint64(11)) * 2.0**-53


def sample_tokens(
    log_probs: npt.NDArray[np.float32], temperature: npt.NDArray[np.float32], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Samples a token for every row by inverting its cumulative distribution.

    Args:
        log_probs: ``[N, V]``; illegal tokens have -inf.
        temperature: ``[N]`` log-probabilities are divided by it; 0 takes the most likely token.
        uniform: ``[N]`` random numbers in [0, 1).

    Returns:
        ``[N]`` token ids.
    """
    tokens = np.empty(len(log_probs), dtype=np.int64)
    _sample_tokens(log_probs, temperature, uniform, tokens)
    return tokens


@compiled
def _sample_tokens(
    log_probs: npt.NDArray[np.float32],
    temperature: npt.NDArray[np.float32],
    uniform: npt.NDArray[np.float64],
    tokens: npt.NDArray[np.int64],
) -> None:
    for row in range(len(log_probs)):
        best = 0
        for token in range(log_probs.shape[1]):
            if log_probs[row, token] > log_probs[row, best]:
                best = token
        tokens[row] = best

        # Greedy rows keep the most likely token; their random number is not used.
        if temperature[row] > 0:
            tokens[row] = _invert(log_probs[row], log_probs[row, best], temperature[row], uniform[row])


@inlined
def _invert(log_probs: npt.NDArray[np.float32], largest: float, temperature: float, share: float) -> int:
    """Returns the first token up to which the tokens have more than a share of all probability."""
    # Weights relative to the largest: a low temperature would make the probabilities themselves underflow to 0.
    total = 0.0
    for token in range(len(log_probs)):
        total += np.exp(np.float64(log_probs[token] - largest) / temperature)

    # ``last`` is never an illegal token, even where rounding leaves some of ``rest`` after all tokens.
    rest = share * total
    last = 0
    for token in range(len(log_probs)):
        weight = np.exp(np.float64(log_probs[token] - largest) / temperature)
        if weight > 0:
            last = token
        rest -= weight
        if rest < 0:
            break
    return last
