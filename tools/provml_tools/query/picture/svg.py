"""A drawing as SVG: one file that a browser, a page or a slide shows as it is, with what is cut off in its tooltips."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from html import escape
from typing import Any

from provml_tools.query.picture.drawing import DATA, FEATURES, LEARNING, MODEL, STEP, Box, Drawing, Lane
from provml_tools.query.picture.layout import PADDING, WIDTH, Layout, Place, layout

COLOURS = {DATA: "#2b6cb0", FEATURES: "#0f8b8d", MODEL: "#7b3fa0", STEP: "#b7791f", LEARNING: "#c05621"}
"""The colour of each kind of box."""
TINTS = {DATA: "#ebf4fc", FEATURES: "#e6f6f5", MODEL: "#f5ecfa", STEP: "#fdf6e3", LEARNING: "#fdefe6"}
LANES = {"curation": "#f3f7fb", "preparation": "#f3f8f3", "learning": "#fbf7f2"}
WORDS = {DATA: "data", FEATURES: "features", MODEL: "model", STEP: "step", LEARNING: "learning"}
TIMES = "\N{MULTIPLICATION SIGN}"
_FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
_TITLE, _SMALL = 12.0, 10.0
_LINES = 2
"""Most lines of details in a box."""
_NARROW, _WIDE = frozenset("iljtfrI.,:;|!'()[]/ -"), frozenset("mwMWQO@%")


def as_svg(drawing: Drawing) -> str:
    """Return a drawing as SVG."""
    texts = [_texts(box) for box in drawing.boxes]
    placed = layout(drawing, [24.0 + 13.0 * len(lines) + 8.0 for lines in texts])
    legend = 34.0
    width, height = placed.width, placed.height + legend
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="{_FONT}" font-size="{_TITLE:g}" role="img">',
        f"<title>{_escape(f'What {drawing.title} came from')}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.2" refY="4" markerWidth="6.5" markerHeight="6.5" '
        'orient="auto"><path d="M0 0.6 L7.6 4 L0 7.4 Z" fill="#8794a3"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#ffffff"/>',
        *(_lane(lane, where) for lane, where in zip(drawing.lanes, placed.lanes, strict=True)),
        '<g fill="none" stroke="#8794a3" stroke-width="1.3">',
        *(_arrow(arrow) for arrow in placed.arrows),
        "</g>",
        *(_box(box, lines, where) for box, lines, where in zip(drawing.boxes, texts, placed.boxes, strict=True)),
        *_legend(drawing, placed),
        "</svg>\n",
    ]
    return "\n".join(parts)


def width_of(text: str, size: float) -> float:
    """Return about how many pixels a text takes, on the safe side: fonts differ, and titles are bold."""
    units = 0.0
    for character in text:
        if character in _NARROW:
            units += 0.38
        elif character in _WIDE or character.isupper():
            units += 0.82
        else:
            units += 1.05 if unicodedata.east_asian_width(character) in "WF" else 0.64
    return units * size


def shortened(text: str, room: float, size: float) -> str:
    """Return a text that fits, without its first folders or its middle: the ends tell files apart."""
    if width_of(text, size) <= room:
        return text
    while "/" in text:
        text = text.partition("/")[2]
        if width_of(f"…/{text}", size) <= room:
            return f"…/{text}"
    keep = len(text)
    while keep > 2 and width_of(text[: keep * 2 // 5] + "…" + text[-(keep - keep * 2 // 5) :], size) > room:
        keep -= 1
    return text[: keep * 2 // 5] + "…" + text[-(keep - keep * 2 // 5) :]


def said(value: Any) -> str:
    """Return a value of a detail as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _texts(box: Box) -> list[str]:
    """Return the lines below the title of a box: its kind, and as many details as fit."""
    room = WIDTH - 26
    lines = [box.what]
    line = ""
    for name, value in box.details.items():
        one = shortened(f"{name} {said(value)}", room, _SMALL)
        if line and width_of(f"{line} · {one}", _SMALL) <= room:
            line = f"{line} · {one}"
        elif line:
            lines.append(line)
            line = one
        else:
            line = one
        if len(lines) > _LINES:
            lines[-1] = shortened(f"{lines[-1]} …", room, _SMALL)
            return lines
    return [*lines, line] if line else lines


def _lane(lane: Lane, where: tuple[float, float, float, float]) -> str:
    x, y, width, height = where
    fill = LANES.get(lane.phase, "#f6f6f7")
    parts = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="10" fill="{fill}"/>']
    if lane.name:
        lines = [
            (lane.phase.upper(), 9.5, "#66717f", ' letter-spacing="1.2" font-weight="600"'),
            (shortened(lane.name, 136, 13), 13.0, "#1f2933", ' font-weight="600"'),
            (shortened(lane.who, 136, 11), 11.0, "#52606d", ""),
            (lane.when, 11.0, "#52606d", ""),
        ]
        at = y + 26
        for text, size, colour, more in lines:
            if text:
                parts.append(
                    f'<text x="{x + PADDING:.1f}" y="{at:.1f}" font-size="{size:g}" fill="{colour}"{more}>'
                    f"{_escape(text)}</text>"
                )
                at += 17
    return "\n".join(parts)


def _box(box: Box, lines: list[str], where: Place) -> str:
    x, y = where.x - WIDTH / 2, where.y
    colour, tint = COLOURS[box.kind], TINTS[box.kind]
    radius = where.height / 2 if box.is_activity else 5
    radius = min(radius, 16.0)
    frame = f'width="{WIDTH:g}" height="{where.height:.1f}" rx="{radius:g}"'
    stroke = f'stroke="{colour}" stroke-width="{2.2 if box.start else 1.1:g}"'
    parts = ["<g>", f"<title>{_escape(_tooltip(box))}</title>"]
    if box.count > 1:  # a stack
        parts += [
            f'<rect x="{x + by:.1f}" y="{y + by:.1f}" {frame} fill="{tint}" {stroke} stroke-opacity="0.45"/>'
            for by in (6, 3)
        ]
    parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" {frame} fill="{tint}" {stroke}/>')
    if box.count > 1:
        text = f"{TIMES}{box.count:,}".replace(",", "\u202f")
        badge = width_of(text, _SMALL) + 12
        left = x + WIDTH - badge - 12
        parts.append(
            f'<rect x="{left:.1f}" y="{y - 7.5:.1f}" width="{badge:.1f}" height="15" rx="7.5" fill="{colour}"/>'
            f'<text x="{left + badge / 2:.1f}" y="{y + 3.5:.1f}" font-size="{_SMALL:g}" '
            f'fill="#ffffff" text-anchor="middle" font-weight="600">{text}</text>'
        )
    parts.append(
        f'<text x="{x + 12:.1f}" y="{y + 20:.1f}" font-weight="600" fill="#1f2933">'
        f"{_escape(shortened(box.title, WIDTH - 24, 1.06 * _TITLE))}</text>"
    )
    for at, line in enumerate(lines):
        shade = colour if at == 0 else "#52606d"
        parts.append(
            f'<text x="{x + 12:.1f}" y="{y + 34 + 13 * at:.1f}" font-size="{_SMALL:g}" fill="{shade}">'
            f"{_escape(line)}</text>"
        )
    return "\n".join([*parts, "</g>"])


def _tooltip(box: Box) -> str:
    lines = [f"{box.title} ({box.what}{f', {box.count} of them' if box.count > 1 else ''})"]
    lines += [text for text in (box.path if box.path != box.title else "", box.digest) if text]
    lines += [f"{name} = {said(value)}" for name, value in box.details.items()]
    return "\n".join(lines)


def _arrow(places: list[Place]) -> str:
    first, last = places[0], places[-1]
    down = first.row < last.row or (first.row == last.row and first.y <= last.y)
    if first.row == last.row:  # beside each other: a circle was cut here
        return (
            f'<path d="M{first.x:.1f} {first.y:.1f} C{first.x:.1f} {first.y - 26:.1f} {last.x:.1f} '
            f'{last.y - 26:.1f} {last.x:.1f} {last.y - 2:.1f}" marker-end="url(#tip)"/>'
        )
    x, y = first.x, first.y + first.height if down else first.y
    path = f"M{x:.1f} {y:.1f}"
    for place in places[1:]:
        to = place.y if down else place.y + place.height
        if place is last:
            to += -2 if down else 2
        middle = (y + to) / 2
        path += f" C{x:.1f} {middle:.1f} {place.x:.1f} {middle:.1f} {place.x:.1f} {to:.1f}"
        x, y = place.x, to
        if place is not last and place.height:
            y = place.y + place.height if down else place.y
            path += f" L{x:.1f} {y:.1f}"
    return f'<path d="{path}" marker-end="url(#tip)"/>'


def _legend(drawing: Drawing, placed: Layout) -> Iterator[str]:
    x, y = 2 * PADDING, placed.height + 10
    for kind in (one for one in COLOURS if any(box.kind == one for box in drawing.boxes)):
        radius = 6 if kind in (STEP, LEARNING) else 2.5
        yield (
            f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="18" height="12" rx="{radius}" fill="{TINTS[kind]}" '
            f'stroke="{COLOURS[kind]}"/><text x="{x + 24:.1f}" y="{y + 1:.1f}" font-size="{_SMALL:g}" '
            f'fill="#52606d">{WORDS[kind]}</text>'
        )
        x += 40 + width_of(WORDS[kind], _SMALL)
    words = "arrows lead from what was there to what was made of it"
    yield f'<text x="{x + 6:.1f}" y="{y + 1:.1f}" font-size="{_SMALL:g}" fill="#7b8794">{words}</text>'


def _escape(text: str) -> str:
    """Return text that is safe in XML: what XML cannot hold at all is shown as its escape."""
    clean = "".join(
        one if one >= " " or one in "\n\t" else one.encode("unicode_escape").decode()
        for one in text.encode("utf-8", "replace").decode()
    )
    return escape("".join("\ufffd" if one in "\ufffe\uffff" else one for one in clean))
