"""What a user would otherwise run: stock PPO one row a step, a policy without a cache, and TRL's GRPO."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

from benchmarks.speed.measuring import clock
from o1nano.agents.learning.packing import TrainingFrame
from o1nano.envs.language.vocab import PAD, TOKENS
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.network.transformer import TransformerConfig


class Reencoding(ReasoningPolicy):
    """The same policy without its cache: every step reads every frame from its first token."""

    def _decode(self, obs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        with th.no_grad(), th.autocast(self.device.type, th.bfloat16, enabled=self.bf16):
            out: tuple[th.Tensor, th.Tensor] = self.network(self._as_batch(obs))
        return out


def stock_ppo(env: Any, policy_kwargs: dict[str, Any], n_steps: int, batch_size: int) -> PPO:
    """Stable-Baselines3's PPO with its own buffer of rows, on the same policy class."""
    warnings.filterwarnings("ignore", "You have specified a mini-batch size")  # the last one is smaller
    model = PPO(
        ReasoningPolicy,
        env,
        n_steps=n_steps,
        batch_size=batch_size,
        n_epochs=1,
        gamma=1.0,
        seed=0,
        device="cpu",
        policy_kwargs=policy_kwargs,
    )
    model.set_logger(Logger(None, []))
    return model


def fill_rows(model: PPO, frames: list[TrainingFrame]) -> None:
    """Puts frames with equally many actions into a stock buffer: every frame is an environment, every action a row."""
    buffer = model.rollout_buffer
    buffer.reset()
    for env, frame in enumerate(frames):
        for step, at in enumerate(frame.positions):
            buffer.observations[step, env, : at + 1] = frame.tokens[: at + 1]
            buffer.observations[step, env, at + 1 :] = PAD
        buffer.actions[:, env, 0] = frame.actions
        for name in ("values", "log_probs", "rewards", "advantages"):
            getattr(buffer, name)[:, env] = getattr(frame, name)
    buffer.returns = buffer.advantages + buffer.values
    buffer.pos, buffer.full, buffer.generator_ready = buffer.buffer_size, True, False


def grpo_rates(transformer: TransformerConfig, rows: int, length: int, repeats: int) -> list[float]:
    """Useful completion tokens per second of whole iterations of TRL's ``GRPOTrainer``, padding not counted.

    Its Llama has the width, depth and number of parameters of ours, and a vocabulary of the same tokens. A completion
    is useful up to its ``<eos>``. The reward is random: it costs nothing and gives every group an advantage.

    Raises:
        ImportError: If TRL is not installed.
    """
    import tempfile

    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    vocabulary = {token: index for index, token in enumerate(TOKENS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=transformer.embedding,
        intermediate_size=2 * transformer.feed_forward // 3,  # three products instead of two
        num_hidden_layers=transformer.layers,
        num_attention_heads=transformer.heads,
        max_position_embeddings=4 * length,
        pad_token_id=vocabulary["<pad>"],
        eos_token_id=vocabulary["<eos>"],
        bos_token_id=vocabulary["<problem>"],
    )
    rng, seen, times = np.random.default_rng(0), [], []

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        times.append(clock())
        seen.append(sum(_useful(ids, vocabulary["<eos>"]) for ids in completion_ids))
        return rng.random(len(completion_ids)).tolist()

    problems = [" ".join(f"<problem> {a} + {b} =".split()) for a in range(10) for b in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=rows,
            num_generations=8,
            max_completion_length=length,
            max_steps=repeats + 2,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        data = Dataset.from_dict({"prompt": problems})
        model = LlamaForCausalLM(config)
        GRPOTrainer(model, reward, args=settings, train_dataset=data, processing_class=tokenizer).train()
    # From one reward to the next: an update and a rollout. The first one warms up.
    gaps = np.diff(times)[1:]
    return [float(tokens / gap) for tokens, gap in zip(seen[2:], gaps, strict=True)]


def _useful(ids: list[int], eos: int) -> int:
    ids = list(ids)
    return ids.index(eos) + 1 if eos in ids else len(ids)
