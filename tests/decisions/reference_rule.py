"""The rule of one release written a second time, from its description alone, for comparison.

It shares no code with the server: plain floats, lists and dictionaries, one long function per
paragraph of the description. Slow is fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, expm1, inf, log, log1p, sqrt

GRID = (1.4, 2.0, 3.2, 7.0, 25.0, 150.0)
WEIGHTS = (0.38, 0.27, 0.17, 0.09, 0.06, 0.03)
R1 = 1.25


def logsumexp(values: Sequence[float]) -> float:
    top = max(values)
    return -inf if top == -inf else top + log(sum(exp(v - top) for v in values))


def spend(alpha: float, epoch: int) -> float:
    return alpha * 0.9 if epoch == 1 else alpha * 0.1 / (epoch * (epoch - 1))


def clamp(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))


@dataclass
class Cell:
    """One stratum in one window: the share of the design and the counts of both arms."""

    key: str
    share: float
    n_c: float = 0
    e_c: float = 0
    f_c: float = 0
    n_t: float = 0
    e_t: float = 0
    f_t: float = 0
    overflow: float = 0  # failures of the treatment past the limit: only evidence of safety
    sampled_c: float = 0
    sampled_t: float = 0

    @property
    def compared(self) -> bool:
        return 0 < self.share < 1


@dataclass
class ReferenceHarm:
    """E, the evidence of harm, with its epochs."""

    alpha: float
    r0: float
    d0: float = 0.0
    epoch: int = 1
    log_rem: float = 0.0
    log_a: list[float] = field(default_factory=lambda: [-inf] * 6)
    clock: int = 0
    fails: float = 0.0
    epoch_begins: bool = True
    t1: float = 0.0
    t2: float = 0.0
    top: float = 0.0
    tau2: float = 0.0
    prev: dict[str, tuple[float, float]] = field(default_factory=dict)
    treated_failed: float = 0.0
    block_f: float = 0.0
    block_e: float = 0.0
    blocks: int = 0
    u1: float = 0.0
    blind_epochs: int = 0
    pairs: dict[tuple[int, str], list[float]] = field(default_factory=dict)

    @property
    def log_evidence(self) -> float:
        return logsumexp(
            [self.log_rem] + [a + log(w) for a, w in zip(self.log_a, WEIGHTS, strict=True)]
        )

    @property
    def limit(self) -> float:
        return -log(spend(self.alpha, self.epoch))

    def add(self, cells: Sequence[Cell], new_stage: bool, visit: int = 0) -> None:
        """Add a window; ``visit`` numbers the visits of stages."""
        if self.epoch_begins:
            h = 0.90
        elif new_stage:
            h = 0.30
        elif self.clock >= 15 and self.fails >= 20:
            h = 0.02
        else:
            h = 0.0
        if h > 0:
            self.log_a = [logsumexp([a, self.log_rem + log(h)]) for a in self.log_a]
            self.log_rem += log1p(-h)
            self.clock = 0
            self.fails = 0.0
        self.epoch_begins = False
        self.clock += 1
        if new_stage:
            self.prev = {}
        compared = [cell for cell in cells if cell.compared]
        old = self.tau2
        before = dict(self.prev)
        for cell in compared:
            m1 = cell.e_t + cell.e_c
            if m1 <= 0:
                continue
            if cell.key in self.prev:
                pt, pc = self.prev[cell.key]
                m0 = pt + pc
                total_t = cell.e_t + pt
                m = m1 + m0
                if 0 < total_t < m:
                    f = total_t * (m - total_t) / (m * m)
                    x2 = (cell.e_t - m1 * total_t / m) ** 2 / (m1 * m0 * f / (m - 1))
                    c = 2 * m0 * m1 / m * f
                    g = c / (1 + 0.02 * c)
                    self.t1 += g * (x2 - 1)
                    self.t2 += g * c
                    self.top = max(self.top, g * (x2 - 1))
            self.prev[cell.key] = (cell.e_t, cell.e_c)
        self.tau2 = max(0.0, (self.t1 - self.top) / (self.t2 + 50))
        for cell in compared:
            s, r0 = cell.share, self.r0
            q = s * r0 / (s * r0 + 1 - s)
            m = sum(before.get(cell.key, (0, 0))) if self.d0 > 0 else cell.e_t + cell.e_c
            v = m * q * (1 - q)
            for j, g in enumerate(GRID):
                r = g * r0
                lr = log(r / r0)
                d = log(s * r + 1 - s) - log(s * r0 + 1 - s)
                inc = cell.e_t * lr - (cell.e_t + cell.e_c) * d
                if self.d0 > 0:
                    inc -= cell.n_t * self.d0 * expm1(lr - d)
                self.log_a[j] += min(inc / (1 + old * v), inc / (1 + self.tau2 * v))
        for cell in compared:
            self.fails += cell.e_t + cell.e_c
            self.treated_failed += cell.e_t
            pair = self.pairs.setdefault((visit, cell.key), [cell.share, 0, 0])
            pair[1] += cell.e_c
            pair[2] += cell.n_c

    def detectable_ratio(self) -> float | None:
        """The smallest ratio that would have been noticed, by bisection; None: none."""
        pairs = [(s, c, n) for s, c, n in self.pairs.values() if 0 < s < 1]
        limit = spend(self.alpha, self.epoch)

        def noticed(r: float) -> bool:
            for g, w in zip(GRID, WEIGHTS, strict=True):
                mean = var = 0.0
                for s, c, n in pairs:
                    mu = r * c * s / (1 - s)
                    d = log(s * g * self.r0 + 1 - s) - log(s * self.r0 + 1 - s)
                    up = log(g) - d
                    mean += mu * up - c * d - n * s / (1 - s) * self.d0 * expm1(up)
                    var += mu * up**2 + c * d**2
                if mean - 0.8416 * sqrt(var) >= -log(limit * 0.90 * w):
                    return True
            return False

        if not any(c for _, c, _ in pairs) or not noticed(1000.0):
            return None
        low, high = self.r0, 1000.0
        for _ in range(60):
            mid = sqrt(low * high)
            low, high = (low, mid) if noticed(mid) else (mid, high)
        return high

    @property
    def must_roll_back(self) -> bool:
        return self.log_evidence >= self.limit and self.treated_failed >= 3

    def perhaps_close(self, cells: Sequence[Cell], log_evidence: float) -> bool:
        """Add a window to the blocks, after its rollback test; return whether the epoch closed."""
        if not any(0 < cell.share <= 0.9 for cell in cells):
            return False
        compared = [cell for cell in cells if cell.compared]
        self.block_f += sum(cell.f_c for cell in compared)
        self.block_e += sum(cell.e_c for cell in compared)
        if self.block_f < 50:
            return False
        u = self.block_e / self.block_f
        self.block_f = self.block_e = 0.0
        self.blocks += 1
        if self.blocks == 2:
            self.u1 = u
        elif self.blocks > 2:
            if self.u1 > 0:
                over = (u < self.u1 / 3 and log_evidence < log(5)) or u < self.u1 / 10
            else:
                # docs/decisions/version-1-ends-under-version-1.md, "A blind second block".
                waits = 2**self.blind_epochs
                over = u == 0 and self.blocks - 2 >= waits and log_evidence < log(5)
            if not over:
                return False
            self.blind_epochs = 0 if self.u1 > 0 else self.blind_epochs + 1
            self.epoch += 1
            self.log_rem = 0.0
            self.log_a = [-inf] * 6
            self.clock = 0
            self.fails = 0.0
            self.epoch_begins = True
            self.blocks = 0
            self.u1 = 0.0
            self.pairs = {}
            return True
        return False


@dataclass
class ReferenceSafety:
    """A, the evidence of safety."""

    bets: list[float] = field(default_factory=lambda: [-inf] * 3)
    rem: float = 0.0
    age: int = 0
    n: float = 20.0
    er: float = 0.2

    def restart(self) -> None:
        self.bets = [-inf] * 3
        self.rem = 0.0
        self.age = 0

    def add(self, cells: Sequence[Cell], d: float) -> None:
        """Add a window; ``d`` is the allowed excess."""
        p = clamp(self.er / self.n, 1e-6, 0.9) if self.n > 0 else 0.9
        if self.age == 0:
            h = 0.9
        elif self.age % 100 == 0:
            h = 0.2
        else:
            h = 0.0
        self.age += 1
        if h > 0:
            self.bets = [logsumexp([a, self.rem + log(h)]) for a in self.bets]
            self.rem += log1p(-h)
        for cell in cells:
            if not cell.compared or cell.n_t <= 0 or cell.n_c <= 0:
                continue
            n_t, n_c = cell.n_t, cell.n_c
            aq = R1 * (n_t * R1 + n_c)
            b = n_t * R1 * (p - d) + n_c * (p * R1 - d)
            c = n_c * p * d
            x = (b + sqrt(b * b + 4 * aq * c)) / (2 * aq)
            b0 = clamp(p / (R1 * x + d), 0.001, 0.999)
            for i, power in enumerate((1, 0.5, 2)):
                bt = b0**power
                bc = 1 + (n_t / n_c) * R1 * (1 - bt)
                e_t = cell.e_t + cell.overflow
                self.bets[i] += e_t * log(bt) + cell.e_c * log(bc) + n_t * d * (1 - bt)
        n_c = sum(cell.n_c for cell in cells if cell.compared)
        e_c = sum(cell.e_c for cell in cells if cell.compared)
        g = 0.5 ** (e_c / 100)
        self.n = self.n * g + n_c
        self.er = self.er * g + e_c

    @property
    def log_evidence(self) -> float:
        weights = (0.5, 0.25, 0.25)
        return logsumexp([self.rem] + [a + log(w) for a, w in zip(self.bets, weights, strict=True)])


@dataclass
class ReferenceProbe:
    """The probe of errors."""

    n: float = 50.0
    er: float = 0.5
    c: float = 0.0
    seen: bool = False

    def add(self, cells: Sequence[Cell]) -> None:
        """Add a window."""
        if any(0 < cell.share <= 0.9 for cell in cells):
            e_c = sum(cell.e_c for cell in cells if cell.compared)
            n_c = sum(cell.n_c for cell in cells if cell.compared)
            g = 0.5 ** (e_c / 300)
            self.n = self.n * g + n_c
            self.er = self.er * g + e_c
            self.c = 0.0
            self.seen = self.seen or n_c > 0
            return
        n_t = sum(cell.n_t for cell in cells)
        e_t = sum(cell.e_t for cell in cells)
        if n_t <= 0 or not self.seen:
            return
        p = clamp(self.er / self.n, 1e-6, 0.5) if self.n > 0 else 0.5
        self.c = max(0.0, self.c + e_t * log(2) - n_t * p * 1.5)

    @property
    def fires(self) -> bool:
        return self.c >= log(50)


@dataclass
class ReferenceSplit:
    """The sample ratio: whether the split of users is what the hash says."""

    visit: int = 1
    bets: dict[tuple[int, float], float] = field(
        default_factory=lambda: {(sign, f): 0.0 for sign in (1, -1) for f in (1.3, 2, 5)}
    )

    def add(self, cells: Sequence[Cell]) -> None:
        """Add a window."""
        moved = dict.fromkeys(self.bets, 0.0)
        for cell in cells:
            if not cell.compared:
                continue
            s, d_t, d_c = cell.share, cell.sampled_t, cell.sampled_c
            for sign, f in self.bets:
                b = 1.15**sign
                k = b * f**sign
                d = log(s * k + 1 - s) - log(s * b + 1 - s)
                moved[sign, f] += d_t * sign * log(f) - (d_t + d_c) * d
        for key in self.bets:
            self.bets[key] = min(12.0, self.bets[key] + moved[key])

    @property
    def log_evidence(self) -> float:
        return logsumexp(list(self.bets.values())) - log(6)

    @property
    def limit(self) -> float:
        return log(self.visit * (self.visit + 1) / 0.001)

    @property
    def wrong(self) -> bool:
        return self.log_evidence >= self.limit
