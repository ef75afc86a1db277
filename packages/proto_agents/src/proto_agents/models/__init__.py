"""Networks, distributions and running statistics."""

from proto_agents.models.actor_critic import ActorCritic, ActorCriticConfig
from proto_agents.models.distributions import Categorical, Distribution, Gaussian
from proto_agents.models.mlp import mlp
from proto_agents.models.normalization import RunningNormalizer

__all__ = ["ActorCritic", "ActorCriticConfig", "Categorical", "Distribution", "Gaussian", "RunningNormalizer", "mlp"]
