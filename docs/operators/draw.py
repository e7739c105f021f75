"""Draw the figures of the operator pages, one SVG for each operator: python docs/operators/draw.py

A figure is boxes on a grid of columns and rows, arrows between them and pictures of kernels; a function for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE, CELL = 132, 42, 44, 18, 16, 13
COLOURS = {
    "data": "#dbe9f6",  # feature maps
    "conv": "#f9c99b",  # k x k convolutions
    "point": "#c9e4bd",  # 1x1 convolutions
    "cheap": "#fdeeaf",  # depthwise or grouped convolutions
    "plain": "#e6e6e6",  # operations without weights
}
FIGURES: dict[str, Callable[[Figure], None]] = {}


class Figure:
    """Boxes, arrows and kernels, and the SVG that shows them."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.width = self.height = 0.0

    def box(self, column: float, row: float, text: str, kind: str = "data") -> tuple[float, float]:
        """A box with lines of text; returns its place for `arrow`."""
        x, y = EDGE + column * (WIDTH + GAP_X), EDGE + row * (HEIGHT + GAP_Y)
        self._reach(x + WIDTH, y + HEIGHT)
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{COLOURS[kind]}" stroke="#555"/>'
        )
        lines = text.split("\n")
        for number, line in enumerate(lines):
            self._text(x + WIDTH / 2, y + HEIGHT / 2 + 4 + 14 * (number - (len(lines) - 1) / 2), line)
        return column, row

    def arrow(self, *places: tuple[float, float], bend: float = 0.5) -> None:
        """Arrows from the right side of each box to the left side of the next, turning in the gap before it."""
        for (column, row), (to_column, to_row) in pairwise(places):
            x, y = EDGE + column * (WIDTH + GAP_X) + WIDTH, EDGE + row * (HEIGHT + GAP_Y) + HEIGHT / 2
            to_x, to_y = EDGE + to_column * (WIDTH + GAP_X), EDGE + to_row * (HEIGHT + GAP_Y) + HEIGHT / 2
            turn = to_x - GAP_X * (1 - bend)
            self.parts.append(
                f'<path d="M{x:g} {y:g} H{turn:g} V{to_y:g} H{to_x - 3:g}" fill="none" stroke="#333" '
                'marker-end="url(#tip)"/>'
            )

    def vertical(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """An arrow between boxes of one column."""
        x = EDGE + start[0] * (WIDTH + GAP_X) + WIDTH / 2
        top, bottom = (EDGE + row * (HEIGHT + GAP_Y) for row in (start[1], end[1]))
        way = f"V{bottom - 3:g}" if top < bottom else f"V{bottom + HEIGHT + 3:g}"
        edge = top + HEIGHT if top < bottom else top
        self.parts.append(f'<path d="M{x:g} {edge:g} {way}" stroke="#333" marker-end="url(#tip)"/>')

    def kernel(
        self, column: float, row: float, mask: Sequence[str], label: str = "", kind: str = "conv"
    ) -> tuple[float, float]:
        """A kernel; in `mask` a "#" is a weight and a "." a zero."""
        side_x, side_y = len(mask[0]) * CELL, len(mask) * CELL
        x = EDGE + column * (WIDTH + GAP_X) + (WIDTH - side_x) / 2
        y = EDGE + row * (HEIGHT + GAP_Y) + (HEIGHT - side_y) / 2
        for down, line in enumerate(mask):
            for across, cell in enumerate(line):
                fill = COLOURS[kind] if cell == "#" else "#fff"
                self.parts.append(
                    f'<rect x="{x + across * CELL:g}" y="{y + down * CELL:g}" width="{CELL}" height="{CELL}" '
                    f'fill="{fill}" stroke="#777"/>'
                )
        if label:
            self._text(x + side_x / 2, y + side_y + 15, label)
        self._reach(x + side_x, y + side_y + 18)
        return column, row

    def note(self, column: float, row: float, text: str) -> None:
        """A line of text at the left side of a place."""
        x, y = EDGE + column * (WIDTH + GAP_X), EDGE + row * (HEIGHT + GAP_Y) + HEIGHT / 2 + 4
        self._text(x, y, text, "start")
        self._reach(x + 7.5 * sum(2 if ord(letter) > 255 else 1 for letter in text), y + 4)

    def svg(self) -> str:
        """The whole picture."""
        size = f"{self.width + EDGE:.0f}", f"{self.height + EDGE:.0f}"
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
                f'viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif" font-size="12">',
                '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" '
                'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#333"/></marker></defs>',
                '<rect width="100%" height="100%" fill="#fff"/>',
                *self.parts,
                "</svg>\n",
            ]
        )

    def _text(self, x: float, y: float, text: str, anchor: str = "middle") -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def _reach(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)


def figure(draw: Callable[[Figure], None]) -> Callable[[Figure], None]:
    """Enter a drawing under its operator's name."""
    FIGURES[draw.__name__] = draw
    return draw


def chain(f: Figure, row: float, *boxes: tuple[str, str], start: float = 0) -> list[tuple[float, float]]:
    """Boxes one behind the other, with arrows."""
    places = [f.box(start + column, row, text, kind) for column, (text, kind) in enumerate(boxes)]
    f.arrow(*places)
    return places


@figure
def conv2d(f: Figure) -> None:
    chain(f, 0, ("X\nC_in 通道", "data"), ("k×k 卷积", "conv"), ("Y\nC_out 通道", "data"))


@figure
def spconv(f: Figure) -> None:
    x = f.box(0, 1, "X")
    a, b = f.box(1, 0.5, "A: 代表性通道\nr = 比例 × C_in"), f.box(1, 2, "B: 冗余通道\nC_in − r")
    gwc, pwc = f.box(2, 0, "k×k 分组卷积", "conv"), f.box(2, 1, "1×1 卷积", "point")
    single = f.box(2, 2, "1×1 卷积", "point")
    u3, u1 = f.box(3, 0.5, "相加, BN\nU3", "plain"), f.box(3, 2, "BN\nU1", "plain")
    y = f.box(4, 1.2, "按通道加权\nw·U3+(1−w)·U1", "plain")
    f.arrow(x, a)
    f.arrow(x, b)
    f.arrow(a, gwc, u3)
    f.arrow(a, pwc, u3)
    f.arrow(b, single, u1)
    f.arrow(u3, y)
    f.arrow(u1, y)
    f.note(3, 3, "w = sigmoid(GAP(U3) − GAP(U1))")


@figure
def ghostconv(f: Figure) -> None:
    x, primary = f.box(0, 0, "X\nC_in"), f.box(1, 0, "k×k 卷积", "conv")
    y1, cheap = f.box(2, 0, "Y1: 本征通道\nm = C_out / ratio"), f.box(3, 1, "d×d 深度卷积", "cheap")
    y = f.box(4, 0, "拼接\nC_out 通道", "plain")
    f.arrow(x, primary, y1, y)
    f.arrow(y1, cheap, y)


@figure
def hetconv(f: Figure) -> None:
    full, point = ["###", "###", "###"], ["...", ".#.", "..."]
    f.note(0, -0.2, "P = 4: 每个滤波器在一组输入通道上是 k×k, 在其余通道上是 1×1")
    for row in range(4):
        f.note(0, row + 0.8, f"滤波器组 {row + 1}")
        for column in range(4):
            f.kernel(
                0.6 + 0.5 * column,
                row + 0.8,
                full if row == column else point,
                kind="conv" if row == column else "point",
            )


@figure
def mixconv(f: Figure) -> None:
    x, y = f.box(0, 1, "X\n按通道分组"), f.box(3, 1, "拼接", "plain")
    for row, side in enumerate((3, 5, 7)):
        part = f.box(1, row, f"第 {row + 1} 组通道")
        f.arrow(x, part, f.box(2, row, f"{side}×{side} 深度卷积", "cheap"), y)
    f.arrow(y, f.box(4, 1, "1×1 卷积\n(替换普通卷积时)", "point"))


@figure
def groupconv(f: Figure) -> None:
    x, y = f.box(0, 1, "X\nC_in"), f.box(3, 1, "拼接\n(可再洗牌)", "plain")
    for row in range(3):
        part = f.box(1, row, f"第 {row + 1} 组\nC_in / G")
        f.arrow(x, part, f.box(2, row, "k×k 卷积\n→ C_out / G", "cheap"), y)


@figure
def depthwiseseparableconv(f: Figure) -> None:
    f.note(0, -0.3, "dw_pw")
    chain(
        f,
        0.4,
        ("X", "data"),
        ("k×k 深度卷积", "cheap"),
        ("BN, ReLU\n(可选)", "plain"),
        ("1×1 卷积", "point"),
        ("Y", "data"),
    )
    f.note(0, 1.3, "pw_dw")
    chain(
        f,
        2,
        ("X", "data"),
        ("1×1 卷积", "point"),
        ("BN, ReLU\n(可选)", "plain"),
        ("k×k 深度卷积", "cheap"),
        ("Y", "data"),
    )


@figure
def bottleneckconv(f: Figure) -> None:
    chain(
        f,
        0,
        ("X\nC_in", "data"),
        ("1×1 卷积\n降到 m 通道", "point"),
        ("k×k 卷积\nm → m", "conv"),
        ("1×1 卷积\n升到 C_out", "point"),
        ("Y", "data"),
    )


@figure
def kernelreplaceconv(f: Figure) -> None:
    f.note(0, -0.3, "asymmetric")
    chain(f, 0.4, ("X", "data"), ("1×k 卷积", "conv"), ("BN, ReLU", "plain"), ("k×1 卷积", "conv"), ("Y", "data"))
    f.note(0, 1.3, "stacked (5×5)")
    chain(f, 2, ("X", "data"), ("3×3 卷积", "conv"), ("BN, ReLU", "plain"), ("3×3 卷积", "conv"), ("Y", "data"))


@figure
def compconv(f: Figure) -> None:
    f.note(0, -0.3, "d = 3 (重建); c 为最小单元的通道数")
    x = f.box(0, 2, "X\nC_in")
    b2, b1, b0 = (
        f.box(1, 2, "B2 = 卷积(X)\nc", "conv"),
        f.box(2, 2, "B1 = 卷积(B2)\n2c", "conv"),
        f.box(3, 2, "B0 = 卷积(B1)\n4c", "conv"),
    )
    a0, y = f.box(4, 2, "A0 = 卷积(B0)\n尾部通道 t", "conv"), f.box(5, 1.3, "拼接 A0 B0 A1\nB1 A2 B2, 洗牌", "plain")
    a1, a2 = f.box(1, 0.6, "A1: 复制 X 的\n2c 个通道"), f.box(1, 3.4, "A2: 复制 X 的\nc 个通道")
    f.arrow(x, b2, b1, b0, a0, y)
    f.arrow(x, a1, y)
    f.arrow(x, a2, y)


@figure
def spatialversatileconv(f: Figure) -> None:
    f.note(0, -0.2, "一个 5×5 主滤波器当作 3 个次级滤波器用")
    for column, ring in enumerate(range(3)):
        mask = [
            "".join("#" if ring <= row < 5 - ring and ring <= side < 5 - ring else "." for side in range(5))
            for row in range(5)
        ]
        f.kernel(column, 1.2, mask, f"f{ring + 1}: {5 - 2 * ring}×{5 - 2 * ring}")
    f.arrow((2, 1.2), f.box(3, 1.2, "各自卷积 X\n结果拼接", "plain"))


@figure
def channelversatileconv(f: Figure) -> None:
    f.note(0, -0.2, "同一滤波器沿通道滑动 (C_in = 6, delta = 2, g = 1, 共 3 次)")
    y = f.box(3, 1.5, "结果拼接", "plain")
    for row in range(3):
        cells = "".join("#" if row <= cell < row + 4 else "." for cell in range(6))
        place = f.kernel(0.6, row + 0.5, [cells], f"通道 {row + 1} 到 {row + 4}", "point")
        f.arrow(place, f.box(2, row + 0.5, f"f ∗ X{row + 1} + b{row + 1}", "conv"), y)


@figure
def versatileconv(f: Figure) -> None:
    f.note(0, -0.2, "每个主滤波器用 s·n 次: s 个同心核 × n 段通道")
    y = f.box(3, 1.7, "拼接\nC_out 通道", "plain")
    for row, (mask, label) in enumerate(((["###"] * 3, "3×3"), (["...", ".#.", "..."], "1×1"))):
        place = f.kernel(0, 2 * row + 0.7, mask, label)
        for part in range(2):
            f.arrow(place, f.box(1.5, 2 * row + part + 0.2, f"第 {part + 1} 段通道", "conv"), y)


@figure
def maskedversatileconv(f: Figure) -> None:
    f.note(0, -0.2, "掩码由学习得到; H 为其连续代理")
    f.kernel(0, 1, ["###", "###", "###"], "主滤波器 f")
    for row, mask in enumerate((["#.#", "##.", ".#."], [".#.", "..#", "#.#"])):
        place = f.kernel(1.2, 1.6 * row + 0.4, mask, f"M{row + 1} = [H{row + 1} > 0.5]", "point")
        f.arrow((0, 1), place, f.box(2.4, 1.6 * row + 0.4, f"(M{row + 1}∘f) ∗ X", "conv"), (3.4, 1.2))
    f.box(3.4, 1.2, "拼接", "plain")


@figure
def octaveconv(f: Figure) -> None:
    xh, xl = f.box(0, 0, "X_h\nH×W"), f.box(0, 3, "X_l\nH/2×W/2")
    hh, lh = f.box(2, 0, "W_hh", "conv"), f.box(1, 1, "W_lh", "conv")
    up, pool = f.box(2, 1, "放大 2 倍", "plain"), f.box(1, 2, "2×2 平均池化", "plain")
    hl, ll = f.box(2, 2, "W_hl", "conv"), f.box(2, 3, "W_ll", "conv")
    yh, yl = f.box(3, 0, "相加 Y_h\nH×W", "plain"), f.box(3, 3, "相加 Y_l\nH/2×W/2", "plain")
    f.arrow(xh, hh, yh)
    f.arrow(xl, lh, bend=0.7)
    f.arrow(lh, up, yh)
    f.arrow(xh, pool, bend=0.3)
    f.arrow(pool, hl, yl)
    f.arrow(xl, ll, yl)


@figure
def skconv(f: Figure) -> None:
    x, total = f.box(0, 1, "X"), f.box(2, 1, "U = U1 + U2", "plain")
    one, two = f.box(1, 0, "卷积, BN, ReLU\nU1", "conv"), f.box(1, 2, "空洞卷积, BN, ReLU\nU2", "conv")
    gap, fc = f.box(3, 1, "全局池化\nFC, BN, ReLU: z", "plain"), f.box(4, 1, "softmax(A·z)\na1, a2", "point")
    y = f.box(5, 1, "a1·U1 + a2·U2", "plain")
    f.arrow(x, one, total)
    f.arrow(x, two, total)
    f.arrow(total, gap, fc, y)
    f.arrow(one, (5, 0))
    f.arrow(two, (5, 2))
    for row in (0, 2):
        f.vertical(f.box(5, row, "U1" if row == 0 else "U2"), y)


@figure
def inceptionconv(f: Figure) -> None:
    x, y = f.box(0, 1.5, "X"), f.box(3, 1.5, "拼接", "plain")
    f.arrow(x, f.box(1, 0, "1×1 卷积", "point"), y)
    for row, side in ((1, 3), (2, 5)):
        f.arrow(x, f.box(1, row, "1×1 卷积", "point"), f.box(2, row, f"{side}×{side} 卷积", "conv"), y)
    f.arrow(x, f.box(1, 3, "3×3 最大池化", "plain"), f.box(2, 3, "1×1 卷积", "point"), y)


@figure
def fireconv(f: Figure) -> None:
    x, squeeze = f.box(0, 0.5, "X\nC_in"), f.box(1, 0.5, "1×1 卷积, ReLU\ns1 通道", "point")
    one, three, y = (
        f.box(2, 0, "1×1 卷积: e1", "point"),
        f.box(2, 1, "3×3 卷积: e3", "conv"),
        f.box(3, 0.5, "拼接", "plain"),
    )
    f.arrow(x, squeeze, one, y)
    f.arrow(squeeze, three, y)


@figure
def res2conv(f: Figure) -> None:
    x, y = f.box(0, 1.5, "1×1 卷积\n分为 4 份", "point"), f.box(4, 1.5, "拼接\n1×1 卷积", "point")
    previous = None
    for row in range(4):
        part = f.box(1, row, f"x{row + 1}")
        kept = f.box(2, row, "原样保留" if row == 0 else "3×3 卷积", "plain" if row == 0 else "conv")
        f.arrow(x, part, kept, f.box(3, row, f"y{row + 1}"), y)
        if row > 1:
            f.vertical(previous, kept)
        previous = kept
    f.note(0, 4, "竖直箭头: 上一份的结果与下一份相加后再卷积")


@figure
def aggregatedconv(f: Figure) -> None:
    x, y = f.box(0, 1, "X\nC_in"), f.box(4, 1, "相加\nC_out", "plain")
    for row in range(3):
        path = (
            f.box(1, row, "1×1 → w", "point"),
            f.box(2, row, "k×k, w → w", "conv"),
            f.box(3, row, "1×1 → C_out", "point"),
        )
        f.arrow(x, *path, y)
    f.note(0, 3, "共 G 条路径; 等价于一个 1×1、一个 G 组的 k×k、一个 1×1")


@figure
def paralleldownsample(f: Figure) -> None:
    x, y = f.box(0, 0.5, "X\nC_in, H×W"), f.box(2, 0.5, "拼接\nC_out, H/2×W/2", "plain")
    f.arrow(x, f.box(1, 0, "k×k 卷积, 步长 2\nC_out − p", "conv"), y)
    f.arrow(x, f.box(1, 1, "池化, 步长 2\np 个通道", "plain"), y)


@figure
def shuffleunitv1(f: Figure) -> None:
    path = chain(
        f,
        0,
        ("X", "data"),
        ("1×1 分组卷积\nBN, ReLU", "cheap"),
        ("通道洗牌", "plain"),
        ("k×k 深度卷积\nBN", "cheap"),
        ("1×1 分组卷积", "cheap"),
        ("步长 1: 与 X 相加\n步长 2: 拼接", "plain"),
    )
    f.arrow(path[0], f.box(1, 1, "步长 1: X\n步长 2: 平均池化", "plain"), path[-1])


@figure
def shuffleunitv2(f: Figure) -> None:
    f.note(0, -0.3, "步长 1")
    x, y = f.box(0, 0.9, "X\n对半分"), f.box(5, 0.9, "拼接, 洗牌", "plain")
    branch = (
        f.box(1, 1.4, "1×1 卷积\nBN, ReLU", "point"),
        f.box(2, 1.4, "k×k 深度卷积\nBN", "cheap"),
        f.box(3, 1.4, "1×1 卷积", "point"),
    )
    f.arrow(x, f.box(1, 0.4, "左半: 原样通过"), y)
    f.arrow(x, *branch, y)
    f.note(0, 2.2, "步长 2")
    x, y = f.box(0, 3.4, "X\n两支都看全部"), f.box(5, 3.4, "拼接, 洗牌", "plain")
    left = f.box(1, 2.9, "k×k 深度卷积, BN", "cheap"), f.box(2, 2.9, "1×1 卷积", "point")
    branch = (
        f.box(1, 3.9, "1×1 卷积\nBN, ReLU", "point"),
        f.box(2, 3.9, "k×k 深度卷积\nBN", "cheap"),
        f.box(3, 3.9, "1×1 卷积", "point"),
    )
    f.arrow(x, *left, y)
    f.arrow(x, *branch, y)


def main(folder: Path = Path(__file__).parent) -> None:
    """Write every figure into `folder`."""
    for name, draw in FIGURES.items():
        picture = Figure()
        draw(picture)
        (folder / f"{name}.svg").write_text(picture.svg(), "utf-8")


if __name__ == "__main__":
    main()
