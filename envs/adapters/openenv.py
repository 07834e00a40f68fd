"""OpenEnv: ``TextEnv`` as an environment of its servers, one turn a step."""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

from openenv.core import Action, Environment, Observation, State, create_app

from o1nano.envs.errors import O1NanoError
from o1nano.envs.problems import FAMILIES
from o1nano.envs.text_env import TextEnv


class TurnAction(Action):  # type: ignore[misc]
    """One turn.

    Attributes:
        tool: ``"solve"`` opens a subtask, ``"answer"`` answers what the context shows.
        argument: The expression, or the value.
    """

    tool: Literal["solve", "answer"]
    argument: str


class TurnObservation(Observation):  # type: ignore[misc]
    """What the model sees.

    Attributes:
        context: The question, and the subtasks that were answered.
        error: Why the last turn could not be read; empty if it could.
    """

    context: str = ""
    error: str = ""


class O1NanoEnvironment(Environment):  # type: ignore[misc]
    """``TextEnv`` with OpenEnv's interface.

    Args:
        **config: The arguments of ``ArithmeticEnv``; by default problems of every family can be posed.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.text_env = TextEnv(**{"operations": tuple(FAMILIES), **config})
        self._state = State(episode_id=None, step_count=0)

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        problem: str | None = None,
        level: str | None = None,
        **others: Any,
    ) -> TurnObservation:
        """Poses a new problem.

        Args:
            seed: Begins a new random stream: equal seeds pose equal problems.
            episode_id: A name for the episode; None makes one.
            problem: A problem to pose.
            level: A level to draw from.
            **others: What other environments are told; it is not read.
        """
        context = self.text_env.reset(seed=seed, problem=problem, level=level)
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        return TurnObservation(context=context, reward=0.0, done=False)

    def step(self, action: TurnAction, timeout_s: float | None = None, **others: Any) -> TurnObservation:
        """Takes a turn. One that cannot be read changes nothing, and the observation says why.

        Args:
            action: The turn.
            timeout_s: Not needed.
            **others: Not read.
        """
        env = self.text_env
        paid = env.get_reward()
        error = ""
        try:
            env.solve(action.argument) if action.tool == "solve" else env.answer(action.argument)
        except O1NanoError as refused:
            error = str(refused)
        self._state.step_count += 1
        return TurnObservation(context=env.context, error=error, reward=env.get_reward() - paid, done=env.ended)

    @property
    def state(self) -> State:
        """Name and length of the episode."""
        return self._state


def app(**config: Any) -> Any:
    """Returns the FastAPI application that serves the environment: ``uvicorn.run(app())``.

    Args:
        **config: See ``O1NanoEnvironment``.
    """
    return create_app(lambda: O1NanoEnvironment(**config), TurnAction, TurnObservation, env_name="o1nano")
