"""Where a plan's own module runs: a process of its own per call or per job, without network, files, keys and ledger.

docs/decisions/0013-custom-code.md says why it is built like this and what it does not close.
"""

from privacy.sandbox.available import available
from privacy.sandbox.fresh import Fresh
from privacy.sandbox.limits import Limits
from privacy.sandbox.parent import Sandbox
from privacy.sandbox.wire import Arrays, Shapes, Task, Values

__all__ = ["Arrays", "Fresh", "Limits", "Sandbox", "Shapes", "Task", "Values", "available"]
