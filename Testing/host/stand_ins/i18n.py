"""Stand-in for `slicer.i18n`: the application's translator, asked on behalf of the calling file.

The placeholders of a translated text must be those of the original, as in Slicer: a translation
that lost one is not used, because the caller's `.format()` would fail with it.
"""

import logging
import string
import sys
from functools import cache
from pathlib import Path

__all__ = ["getContext", "tr", "translate"]


def translate(context, text):
    """Return `text` in the application's language, or as it is where there is no application."""
    import slicer

    application = getattr(slicer, "app", None)
    return text if application is None else application.translate(context, text)


@cache
def getContext(sourceFile):
    """Name the context of a file: `file`, or `package.file` when it lies in a package."""
    path = Path(sourceFile)
    in_package = path.is_file() and (path.parent / "__init__.py").is_file()
    name = path.stem if path.suffix == ".py" else path.name
    return f"{path.parent.name}.{name}" if in_package else name


def tr(text):
    """Translate a literal; the context is the caller's file."""
    caller = sys._getframe(1).f_code.co_filename
    translated = translate(getContext(caller), text)
    if _placeholders(translated) != _placeholders(text):
        logging.warning("translation of %r loses its placeholders: %r", text, translated)
        return text
    return translated


def _placeholders(text):
    """Return the names inside braces; a text that is no format string has none."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}
    except ValueError:
        return set()
