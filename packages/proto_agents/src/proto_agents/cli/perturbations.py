"""What `--perturb` says: one condition for each value of each perturbation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from proto_agents.config import Experiment, evaluated_with, find_overlay
from proto_agents.evaluation.robustness import UNPERTURBED, Condition
from proto_agents.parsing import ConfigError, load_yaml, merge, nested

OVERLAYS = "overlay"
"""what conditions that are overlays are listed under"""
_KEYWORDS = "env."
"""begins the name of a keyword argument of the environment"""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """A condition, and how an experiment is evaluated under it."""

    condition: Condition
    """as it is shown"""
    arguments: dict[str, Any] = field(default_factory=dict)
    """keyword arguments of the environment, laid over those of the evaluation"""
    overlay: str = ""
    """laid over the evaluation, where the condition is an overlay"""

    def applied(self, experiment: Experiment) -> Experiment:
        """The experiment, evaluated under this condition.

        Raises:
            ConfigError: the overlay is about more than an evaluation, or what is given beside --perturb is in the way.
        """
        if self.overlay:
            experiment = evaluated_with(experiment, [self.overlay])
        settings = experiment.evaluation
        given = settings.env.get("randomization")
        if "randomization" in self.arguments and isinstance(given, str):
            raise ConfigError(
                f"nothing can be added to randomization={given!r}; lay perturbation/{given} over it instead"
            )
        return replace(experiment, evaluation=replace(settings, env=merge(settings.env, self.arguments)))


def read_perturbations(items: Sequence[str]) -> list[Perturbation]:
    """The unperturbed world, then every value of every perturbation by itself.

    Args:
        items: `KEY=VALUE,VALUE,...`, of which a key is one of `randomization=` or, with `env.` before it, a keyword
            argument of the environment, and values are read as YAML; or the name of an overlay.

    Raises:
        ConfigError: an item is neither. What keys and values mean, the environment says.
    """
    found = [Perturbation(condition=UNPERTURBED)]
    for item in items:
        key, equals, text = item.partition("=")
        if not equals:
            find_overlay(item)
            found.append(Perturbation(condition=Condition(perturbation=OVERLAYS, value=item), overlay=item))
            continue
        values = load_yaml(f"[{text}]", f"--perturb {item}")
        if not values or not all(key.split(".")):
            raise ConfigError(f"--perturb {item}: want KEY=VALUE,VALUE,... or the name of an overlay")
        path = (
            key.removeprefix(_KEYWORDS).split(".") if key.startswith(_KEYWORDS) else ["randomization", *key.split(".")]
        )
        found += [
            Perturbation(
                condition=Condition(perturbation=key, value=_shown(value), number=_number(value)),
                arguments=nested(path, value),
            )
            for value in values
        ]
    return list({perturbation.condition: perturbation for perturbation in found}.values())


def without_own_perturbations(experiment: Experiment) -> Experiment:
    """The experiment, evaluated in a world that is perturbed by nothing that it says itself."""
    env, settings = experiment.env, experiment.evaluation
    kept, laid = ({k: v for k, v in given.items() if k != "randomization"} for given in (env.kwargs, settings.env))
    return replace(experiment, env=replace(env, kwargs=kept), evaluation=replace(settings, env=laid))


def unperturbed_values(conditions: Sequence[Condition]) -> dict[str, float]:
    """The value of each perturbation that changes nothing, of those that have one, where proto-envs is installed."""
    try:
        from proto_envs.randomization.config import UNPERTURBED_VALUES
    except ImportError:
        return {}
    keys = {
        key: key if key in UNPERTURBED_VALUES else key.split(".")[0] for key in {c.perturbation for c in conditions}
    }
    return {key: UNPERTURBED_VALUES[known] for key, known in keys.items() if known in UNPERTURBED_VALUES}


def _shown(value: Any) -> str:  # noqa: ANN401 - YAML
    """The value as it is typed."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _number(value: Any) -> float | None:  # noqa: ANN401 - YAML
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
