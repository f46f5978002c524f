"""Places where a test can kill the process, to prove that none of them loses anything.

``SER_FAILPOINT=17`` kills (SIGKILL) at the 17th place passed, ``SER_FAILPOINT=link.before`` at the first of that name,
``SER_FAILPOINT=data.write.after:3`` at its third. Unset, a place costs one comparison.
"""

import os
import signal

_name, _target = "", 0
passed: list[str] = []  # names of the places passed since `arm`, kept only while armed


def arm(wanted: str) -> None:
    """Sets what ``SER_FAILPOINT`` sets; ``count`` only counts, an empty text disarms."""
    global _name, _target
    _name, _, count = wanted.partition(":")
    _target = int(_name) if _name.isdigit() else int(count or 1)
    passed.clear()


def failpoint(name: str) -> None:
    """Dies here if the environment asks for it."""
    if not _name:
        return
    passed.append(name)
    number = len(passed) if _name.isdigit() else passed.count(name)
    if (_name.isdigit() or _name == name) and number == _target:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get("SER_FAILPOINT", ""))
