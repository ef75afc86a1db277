"""Policies for use without this project: an ONNX graph from raw state to drive set-points, and what runs it."""

from proto_envs.deployment.graph import PolicyGraph
from proto_envs.deployment.writing import Deployment, DeploymentError, deploy

__all__ = ["Deployment", "DeploymentError", "PolicyGraph", "deploy"]
