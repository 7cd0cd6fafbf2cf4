"""The plan: everything a federation does, in one file that people approve by its digest."""

from protocol.plan.load import load_plan, parse_canonical, parse_plan
from protocol.plan.model import Plan
from protocol.plan.template import plan_template

__all__ = ["Plan", "load_plan", "parse_canonical", "parse_plan", "plan_template"]
