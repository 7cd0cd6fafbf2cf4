"""What `fedward plan new` writes: the commented example plan, and with --code the module beside it."""

from __future__ import annotations

from pathlib import Path

MODULE = "my_network.py"


def new_plan(*, code: bool) -> str:
    """The example as YAML, every key commented. With `code` its network is the one of `new_module`."""
    from protocol.plan import parse_plan, plan_template
    from protocol.plan.template import commented
    from protocol.plan.training import Network

    text = plan_template()
    if not code:
        return text
    plan = parse_plan(text)
    # Not validated: without its module, which is read from beside the file, the plan is not whole yet.
    network = Network.model_construct(name="code.MyNetwork", args={"channels": plan.data.channels, "classes": 2})
    lines = commented(plan.model_copy(update={"network": network}))
    head = text.splitlines()[0]
    return "\n".join([head, *("code:\n  file: " + MODULE if line.startswith("# code:") else line for line in lines)]) + "\n"


def new_module() -> str:
    """A small network that the example plan can be trained with, to be changed."""
    return Path(__file__).with_name(MODULE).read_text(encoding="utf-8")
