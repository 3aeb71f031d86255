"""What the checks of a report have in common: comparing figures, collecting differences, telling of them."""
import math


def allowed(name):
    """The absolute error of a figure that may be 0 but for rounding: of differences of numbers up to 10,000,
    and of p-values that double precision cannot tell from 0."""
    if name.endswith(("std", "low", "high", "difference")):
        return 1e-10
    return 1e-300 if name.endswith("p_mcnemar") else 0.0


def same(name, found, wanted):
    """Whether a figure is the one wanted, or both are undefined. NaN and infinity equal nothing else."""
    if math.isnan(found) or math.isnan(wanted):
        return math.isnan(found) and math.isnan(wanted)
    return math.isfinite(found) and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=allowed(name))


class Differences(list):
    """What is not as it should be, each in one line."""

    def expect(self, good, message):
        if not good:
            self.append(message)

    def compare(self, where, name, found, wanted):
        self.expect(same(name, found, wanted), f"{where}: {name} is {found!r}, not {wanted!r}")

    def compare_rows(self, where, found, wanted):
        """Two lists of rows, in any order."""
        only_found, only_wanted = set(found) - set(wanted), set(wanted) - set(found)
        self.expect(len(found) == len(set(found)), f"{where}: rows twice")
        self.extend(f"{where}: has {row}" for row in sorted(only_found)[:5])
        self.extend(f"{where}: lacks {row}" for row in sorted(only_wanted)[:5])


def run(checks, errors):
    """Makes the checks, one line each; the differences. Each check returns what it did and its differences;
    one that raises one of `errors` could not be made."""
    differences = []
    for check in checks:
        try:
            says, bad = check()
        except errors as e:
            says, bad = "a check could not be made", [f"{type(e).__name__}: {e}"]
        print(f"{'ok' if not bad else f'{len(bad)} differences'}: {says}", flush=True)
        differences += bad
    return differences


def tell(differences):
    """Prints the first of them; the exit status."""
    for line in differences[:20]:
        print("  " + line)
    if len(differences) > 20:
        print(f"  and {len(differences) - 20} more")
    return 1 if differences else 0
