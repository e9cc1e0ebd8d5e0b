"""What a validation finds, and how it is told to people and to programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

FORMAT, PROV, SHAPES = "format", "prov", "shapes"
LEVELS = (FORMAT, PROV, SHAPES)
"""The levels of a validation: the file itself, W3C PROV-CONSTRAINTS, and the shapes of PROV-ML."""

VIOLATION, WARNING = "violation", "warning"

LIMIT = 100
"""Of one rule, so many findings are told; the rest is counted."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which rule says so, which record it is about, and what to do."""

    level: str
    constraint: str
    """The name of the rule, for PROV-CONSTRAINTS as the recommendation gives it."""
    record: str
    """The record, as a person knows it and with its uuid."""
    message: str
    remedy: str
    severity: str = VIOLATION
    number: int | None = None
    """The number of the constraint in PROV-CONSTRAINTS; None for what is a rule of this project."""
    others: tuple[str, ...] = ()
    """Further records that take part."""

    @property
    def rule(self) -> str:
        """The rule with its number, where it has one."""
        return f"{self.constraint} (constraint {self.number})" if self.number else self.constraint


@dataclass(frozen=True)
class More:
    """Further findings of a rule that are counted, and not told one by one."""

    level: str
    constraint: str
    count: int
    severity: str = VIOLATION


@dataclass
class Report:
    """What was found in one file or document."""

    file: str
    levels: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each rule of each level was broken, also beyond the `limit` of findings that are kept."""
    limit: int = LIMIT
    """Of one rule, so many findings are kept."""
    checked: dict[str, int] = field(default_factory=dict)
    """How much was looked at: records, statements, samples."""
    violations: int = 0

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it unless there are many of its rule already."""
        key = finding.level, finding.constraint
        self.counted[key] += 1
        self.violations += finding.severity == VIOLATION
        if self.counted[key] <= self.limit:
            self.findings.append(finding)

    def extend(self, findings: Iterable[Finding | More]) -> None:
        """Add each of several findings."""
        for one in findings:
            if isinstance(one, Finding):
                self.add(one)
            else:
                self.counted[one.level, one.constraint] += one.count
                self.violations += one.count * (one.severity == VIOLATION)

    @property
    def left_out(self) -> dict[str, int]:
        """How many findings of each rule are counted and not kept."""
        return {f"{level}: {name}": n - self.limit for (level, name), n in self.counted.items() if n > self.limit}


def as_json(reports: Sequence[Report]) -> str:
    """Return reports as JSON text: an array with an object a file."""
    found = [
        {
            "file": report.file,
            "valid": not report.violations,
            "levels": list(report.levels),
            "violations": report.violations,
            "warnings": sum(report.counted.values()) - report.violations,
            "checked": report.checked,
            "findings": [asdict(one) for one in report.findings],
            "left_out": report.left_out,
        }
        for report in reports
    ]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def as_text(report: Report) -> str:
    """Return a report as lines for a person: each finding with its rule, its record and the remedy."""
    looked = ", ".join(f"{number:,} {what}" for what, number in report.checked.items())
    levels = ", ".join(report.levels)
    lines = []
    for one in sorted(report.findings, key=lambda finding: LEVELS.index(finding.level)):
        lines.append(f"{report.file}: {one.severity}: {one.level}: {one.rule}")
        lines.append(f"    record: {one.record}")
        lines += [f"            {other}" for other in one.others]
        lines.append(f"    {one.message}")
        lines.append(f"    remedy: {one.remedy}")
    lines += [f"{report.file}: and {number:,} more of {name}" for name, number in report.left_out.items()]
    warnings = sum(report.counted.values()) - report.violations
    count = _count(report.violations, "violation") + (f", {_count(warnings, 'warning')}" if warnings else "")
    verdict = f"not valid, {count}" if report.violations else f"valid, {count}"
    lines.append(f"{report.file}: {verdict} ({levels}; {looked})" if looked else f"{report.file}: {verdict} ({levels})")
    return "\n".join(lines) + "\n"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
