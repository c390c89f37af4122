"""Numbers as text: every rounding rule of the report in one place."""

from efficarch.record import Estimate

ABSENT = "\N{EN DASH}"


def places(value: float) -> int:
    """Return the decimals that show a value to three digits or more."""
    steps = ((100.0, 1), (1.0, 2), (0.1, 3))
    return next((shown for least, shown in steps if abs(value) >= least), 4)


def number(value: float) -> str:
    """Write a value with as many decimals as its size needs."""
    return f"{value:,.{places(value)}f}"


def budget(ratio: float) -> str:
    """Write a ratio that is a limit: to a thousandth where small, to three digits where large."""
    if ratio < 10:
        return f"{ratio:.3f}"
    return f"{ratio:.1f}" if ratio < 100 else f"{float(f'{ratio:.3g}'):,.0f}"


def interval(estimate: Estimate, decimals: int) -> str:
    """Write the bounds of an estimate."""
    return f"[{estimate.low:,.{decimals}f}, {estimate.high:,.{decimals}f}]"


def cossim(value: float) -> str:
    """Write a cosine similarity; near 1 a fifth decimal tells exact from almost."""
    return f"{value:.5f}" if value >= 0.999 else f"{value:.4f}"


def fraction(part: float, whole: float) -> str:
    """Write one amount relative to another, or a dash where the other was not measured."""
    return f"\N{MULTIPLICATION SIGN} {part / whole:.2f}" if whole else ABSENT


def signed(difference: Estimate) -> str:
    """Write a difference of cosine similarities with its bounds, each with its sign."""
    low, value, high = (
        # adding zero turns a rounded -0.0 into 0.0
        f"{round(number, 4) + 0.0:+.4f}"
        for number in (difference.low, difference.value, difference.high)
    )
    return f"{value} [{low}, {high}]"


def percent(ratio: float) -> str:
    """Write a ratio as a signed change."""
    return f"{100 * (ratio - 1):+.1f} %"


def percent_interval(estimate: Estimate) -> str:
    """Write the bounds of a ratio as signed changes in percent, never broken between them."""
    low, high = (100 * (bound - 1) for bound in (estimate.low, estimate.high))
    return f"[{low:+.1f},\N{NO-BREAK SPACE}{high:+.1f}]"


def count(amount: int, noun: str) -> str:
    """Write an amount with its noun, in the plural unless it is one."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def were(amount: int) -> str:
    """Return the verb form that an amount governs."""
    return "was" if amount == 1 else "were"


def distinct(first: float, second: float) -> tuple[str, str]:
    """Write two different values with the fewest decimals, three or more, that tell them apart."""
    for decimals in range(3, 9):
        pair = f"{first:.{decimals}f}", f"{second:.{decimals}f}"
        if pair[0] != pair[1]:
            return pair
    return f"{first!r}", f"{second!r}"
