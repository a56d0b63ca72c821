"""A report as sections of blocks, written as Markdown or as one HTML file.

Whatever comes from outside (names of files, layers, classes) is data: both
escape it.
"""

import base64
import dataclasses
import html
import importlib.resources
import pathlib

import jinja2

from eagleeye_tf.reporting import tables


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines as they are."""

    text: str


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        path: of an SVG file.
        caption: what it shows.
    """

    path: pathlib.Path
    caption: str


@dataclasses.dataclass(frozen=True)
class Section:
    """Blocks under a headline: `Text`, `Code`, `Figure`, `tables.Table`."""

    title: str
    blocks: list


@dataclasses.dataclass(frozen=True)
class Document:
    """Sections under a title."""

    title: str
    sections: list


def to_markdown(document, folder):
    """The document as Markdown, for a file in `folder`.

    Figures are linked by their paths from there.
    """
    parts = [f"# {html.escape(document.title, quote=False)}"]
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += [_in_markdown(block, folder) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _in_markdown(block, folder):
    match block:
        case Text(text):
            return html.escape(text, quote=False)
        case Code(text):
            return f"```\n{text}\n```"
        case tables.Table():
            return str(block)
        case Figure(path, caption):
            relative = pathlib.Path(path).relative_to(folder)
            return f"![{caption}]({relative.as_posix()})"
    raise TypeError(f"A document has no such block: {block!r}.")


def to_html(document):
    """The document as one HTML page that needs nothing else."""
    source = importlib.resources.files(__package__) / "page.html"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["picture"] = _picture
    environment.filters["kind"] = lambda block: type(block).__name__
    template = environment.from_string(source.read_text(encoding="utf-8"))
    return template.render(document=document)


def _picture(path):
    """An SVG file as the address of an image."""
    content = base64.b64encode(pathlib.Path(path).read_bytes()).decode()
    return f"data:image/svg+xml;base64,{content}"
