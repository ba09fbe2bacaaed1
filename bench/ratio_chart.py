"""Draws ratios as horizontal bars in an SVG file, readable on light and dark pages."""

from html import escape

WIDTH = 760
LABEL_WIDTH = 250  # right-aligned names of the bars end here
VALUE_WIDTH = 60  # room for the number behind the longest bar
ROW_HEIGHT, BAR_HEIGHT = 22, 14
TOP, GROUP_GAP = 84, 34

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328;
    stroke: #ffffff; stroke-width: 4px; paint-order: stroke; }
  .title { font-size: 17px; font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .file { font-weight: 600; }
  .ahead { fill: #0a7d55; }
  .behind { fill: #b35900; }
  .page { fill: #ffffff; }
  .one { stroke: #59636e; stroke-dasharray: 3 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; stroke: #0d1117; }
    .quiet { fill: #9198a1; }
    .ahead { fill: #2ea87a; }
    .behind { fill: #d98324; }
    .page { fill: #0d1117; }
    .one { stroke: #9198a1; }
  }
"""


def svg(title, subtitle, groups):
    """A picture of `groups`, a list of (name, [(label, ratio)]). A line marks the ratio 1."""
    most = max([1.0, *(ratio for _, bars in groups for _, ratio in bars)])
    unit = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / most
    parts, y = [], TOP
    for name, bars in groups:
        parts.append(f'<text class="file" x="16" y="{y}">{escape(name)}</text>')
        y += ROW_HEIGHT
        for label, ratio in bars:
            parts += bar(label, ratio, y, unit)
            y += ROW_HEIGHT
        y += GROUP_GAP - ROW_HEIGHT
    one = LABEL_WIDTH + unit
    summary = "; ".join(f"{name}: " + ", ".join(f"{label} {ratio:.2f}" for label, ratio in bars)
                        for name, bars in groups)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'aria-labelledby="title summary">',
        f'<title id="title">{escape(title)}</title>', f'<desc id="summary">{escape(summary)}</desc>',
        f"<style>{STYLE}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        f'<text class="title" x="16" y="26">{escape(title)}</text>',
        f'<text class="quiet" x="16" y="46">{escape(subtitle)}</text>',
        f'<text class="quiet" x="{one:.1f}" y="{TOP - 16}" text-anchor="middle">llama.cpp</text>',
        f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="{TOP - 10}" y2="{y - GROUP_GAP + ROW_HEIGHT}"/>',
        *parts, "</svg>", ""])


def bar(label, ratio, y, unit):
    kind = "ahead" if ratio >= 1 else "behind"
    middle = y - BAR_HEIGHT / 2 + 2
    width = ratio * unit
    return [
        f'<text x="{LABEL_WIDTH - 10}" y="{y + 1:.1f}" text-anchor="end">{escape(label)}</text>',
        f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{middle - BAR_HEIGHT / 2 + 1:.1f}" width="{width:.1f}" '
        f'height="{BAR_HEIGHT}" rx="2"/>',
        f'<text x="{LABEL_WIDTH + width + 8:.1f}" y="{y + 1:.1f}">{ratio:.2f} ×</text>',
    ]
