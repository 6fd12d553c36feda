"""XML from strangers, one element after the other, or a one-line error."""

import io
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, EntitiesForbidden
from defusedxml.ElementTree import iterparse

from foresee.driving.formats.rows import shorten
from foresee.errors import RecordingError


def elements(data: bytes, source: str, root: str, what: str) -> Iterator[Element]:
    """Give the root, and then each of its children once it is complete, with tags free of namespaces.

    Args:
        data: the XML.
        source: names it in errors.
        root: the tag that the root has to have.
        what: what kind of file was expected, with an article.

    Raises:
        RecordingError: if it is not well-formed, begins with another tag, or declares entities.
    """
    name = what.split(" ", 1)[-1]
    try:
        yield from _elements(data, source, root, what)
    except DefusedXmlException as error:
        refused = "entities" if isinstance(error, EntitiesForbidden) else "references to other files"
        raise RecordingError(f"{source}: expected plain {name} XML, refused its {refused}") from None
    except ParseError as error:
        raise RecordingError(f"{source}: the XML is truncated or damaged ({error})") from None
    except RecordingError:
        raise
    except (LookupError, ValueError) as error:  # an encoding that the file declares and Python does not know
        raise RecordingError(f"{source}: the XML cannot be decoded ({shorten(error, 100)})") from None


def _elements(data: bytes, source: str, tag: str, what: str) -> Iterator[Element]:
    root, depth = None, 0
    for event, element in iterparse(io.BytesIO(data), events=("start", "end"), forbid_dtd=False):
        depth += 1 if event == "start" else -1
        element.tag = element.tag.rsplit("}", 1)[-1]
        if root is None:
            root = element
            if root.tag != tag:
                raise RecordingError(f"{source}: expected {what} file, got XML <{shorten(root.tag)}>")
            yield root
        elif event == "end" and depth == 1:
            yield element
            element.clear()
    if root is None:
        raise RecordingError(f"{source}: expected {what} file, got no element")


def number(text: str | None) -> float | None:
    """The number that a text holds, or None."""
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
