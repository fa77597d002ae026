"""Audit a classifier from Python: run the stages, read numbers with their intervals, write the report.

    python examples/python_api.py [OUT]

Uses the embedded leaky classifier and the generated world, so that it runs anywhere, offline.
"""

from __future__ import annotations

import sys
from pathlib import Path

from singaudit import AuditConfig, audit
from singaudit.report.formats.writer import write_report


def main(out: Path) -> int:
    """Audit, print the findings, write the report into ``out``; returns the audit's exit code."""
    config = AuditConfig(
        model="builtin:leaky",
        images="shapes:2000",
        vlm="builtin:shapes",
        gates=("finding[colour] not in (strong, partial)", "translator.r2.low > 0.1"),
    )
    found = audit(config, progress=lambda stage, done, total: print(f"\r{stage}: {done}/{total}   ", end=""))
    result = found.result
    print(f"\n{result.geometry.null_dim} of {result.geometry.feature_dim} feature dimensions are null")
    for finding in result.findings:
        share = finding.carried_share
        interval = (
            f"{share.value:.2f} [{share.low:.2f}, {share.high:.2f}], n = {share.n}" if share else "nothing to share"
        )
        print(f"{finding.group:20} {finding.finding:14} carried share {interval}")
    print(result.verdict.status, "-", result.verdict.sentence)
    write_report(result, found.per_image, out, formats=("html", "json", "csv"), run_info={})
    return found.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "singaudit-out")))
