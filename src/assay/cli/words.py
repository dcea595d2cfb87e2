"""Text for the terminal: numbers of things, and names that others chose."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """A number of things: ``1 run``, ``3 runs``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def visible(text: str) -> str:
    """The text with what would steer the terminal, such as an escape code in an arm's name, spelled out."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(text: str, limit: int = 300) -> str:
    """A message of someone else's code as one line that steers nothing, cut at ``limit`` characters."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
