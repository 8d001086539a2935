"""What the engine raises, as one kind of error: it answers bad bytes in five ways."""

from collections.abc import Iterator
from contextlib import contextmanager

from rooms.documents.errors import DocumentBroken, MalformedMessage
from rooms.documents.scan import Scan, scan_update


def scan_own(update: bytes) -> Scan:
    """Scan what the engine or the store gave. Raises: DocumentBroken."""
    try:
        return scan_update(update)
    except MalformedMessage as error:
        raise DocumentBroken("an update of our own is malformed") from error


@contextmanager
def translated_errors() -> Iterator[None]:
    """The engine's five kinds of failure as one."""
    try:
        yield
    except DocumentBroken:
        raise
    except BaseException as error:
        raise translate(error) from error


def translate(error: BaseException, waiting: bytes | None = None) -> DocumentBroken:
    """pycrdt answers bad bytes with ValueError, RuntimeError, RecursionError, ExceptionGroup or its
    PanicException, which is a BaseException without a public name. What stops a program passes."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
    # Only the kind: a message of the engine may quote text.
    return DocumentBroken(type(error).__name__, waiting=waiting)
