"""Numbers, prices, dates and telephone numbers as they are spoken in Mandarin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

DIGITS = "零一二三四五六七八九"


def number(n: int) -> str:
    """Return a whole number of 0 to 99,999,999 in Chinese numerals: 320 is 三百二十."""
    if n < 10:
        return DIGITS[n]
    if n < 20:
        return "十" + (DIGITS[n - 10] if n > 10 else "")
    for unit, name in ((10_000, "万"), (1000, "千"), (100, "百"), (10, "十")):
        if n >= unit:
            high, rest = divmod(n, unit)
            gap = "零" if 0 < rest < unit // 10 else ""
            tail = "" if not rest else ("一" if 10 <= rest < 20 else "") + number(rest)
            return number(high) + name + gap + tail
    raise AssertionError


def money(random: Random) -> str:
    """Return an amount as it is said in haggling: 三万八, 一点五亿, 两百多块."""
    kind = random.random()
    if kind < 0.25:
        return (
            number(random.choice([random.randint(1, 99), random.randint(1, 30) * 10]))
            + "万"
            + random.choice(["", "", "元", "块"])
        )
    if kind < 0.5:
        whole = random.choice([random.randint(1, 99) * 100, random.randint(1, 20) * 1000, random.randint(101, 9999)])
        return number(whole) + random.choice(["", "元", "块", "块钱"])
    if kind < 0.6:
        return (
            number(random.randint(1, 20))
            + "点"
            + DIGITS[random.randint(1, 9)]
            + random.choice(["万", "万元", "亿", "千万"])
        )
    if kind < 0.75:
        return DIGITS[random.randint(1, 9)] + random.choice("万千百") + DIGITS[random.randint(1, 9)]
    if kind < 0.9:
        few = random.choice("两三五八几") + random.choice(["千", "百", "十", "万", "百万", "十万"])
        return few + random.choice(["", "多", "来"]) + random.choice(["", "块", "元"])
    return number(random.randint(10, 999)) + random.choice(["元", "块", "块钱"])


def percent(random: Random) -> str:
    """Return a percentage: 百分之十五, 百分之三点二, 八个点."""
    if random.random() < 0.2:
        return number(random.randint(1, 15)) + "个点"
    point = "点" + DIGITS[random.randint(1, 9)] if random.random() < 0.15 else ""
    return "百分之" + number(random.randint(1, 99)) + point


def discount(random: Random) -> str:
    """Return a discount: 八五折, 九折, 三个点."""
    one, two = random.randint(5, 9), random.randint(1, 9)
    return random.choice([f"{DIGITS[one]}折", f"{DIGITS[one]}{DIGITS[two]}折", f"{number(random.randint(1, 15))}个点"])


def digits(random: Random) -> str:
    """Return digits read one by one, as of a telephone or an order; 幺 stands for one."""
    return "".join(random.choice(DIGITS + "幺") for _ in range(random.choice([4, 6, 8, 11])))


def date(random: Random) -> str:
    """Return a day or a month: 三月十五号, 十月."""
    month = number(random.randint(1, 12)) + "月"
    return month + random.choice(["", number(random.randint(1, 31)) + random.choice("号日")])


def year(random: Random) -> str:
    """Return a year read by its digits: 二零二六年."""
    return "二零" + random.choice("一二三") + DIGITS[random.randint(0, 9)] + "年"
