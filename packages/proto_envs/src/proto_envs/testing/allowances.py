"""Larger errors that our engines are allowed in single checks, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping

from proto_envs.testing.suite import Allowance

__all__ = ["ALLOWANCES"]

ALLOWANCES: Mapping[str, Mapping[str, Allowance]] = {}
"""engine to name of a check to what it is allowed there"""
