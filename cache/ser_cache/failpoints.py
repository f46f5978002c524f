"""Places where a test can kill the process, to prove that none of them loses anything.

``SER_FAILPOINT=17`` kills (SIGKILL) at the 17th place passed, ``SER_FAILPOINT=commit.link.before`` at the first of that name,
``SER_FAILPOINT=data.write:3`` at its third. Without the variable a call costs one comparison.
"""

import os
import signal

_spec = os.environ.get("SER_FAILPOINT", "")
_name, _, _count = _spec.partition(":")
_target = int(_name) if _name.isdigit() else int(_count or 1)
_passed = 0


def failpoint(name: str) -> None:
    """Dies here if the environment asks for it."""
    global _passed
    if not _spec:
        return
    if _name.isdigit() or _name == name:
        _passed += 1
        if _passed == _target:
            os.kill(os.getpid(), signal.SIGKILL)
