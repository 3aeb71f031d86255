#!/usr/bin/env python3
"""Turns files of bench_norms --json into a page of tables for docs/benchmarks/:

    scripts/bench_table.py bench.json [more.json ...] --out docs/benchmarks/DEVICE.md

Every figure is one of a file's; what a file does not have is "not measured". Exit codes: 0 done, 1 a row failed its
checks (the page says which), 2 usage, or a page that cannot be written.
"""
import argparse
import datetime
import json
import sys

import files

ABSENT = "not measured"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="files of bench_norms --json")
    parser.add_argument("--out", required=True, help="page to write")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the measurement; default: today")
    return parser.parse_args()


def microseconds(seconds):
    value = 1e6 * seconds
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def percent(part):
    return ABSENT if part is None else f"{100 * part:.0f} %"


def error_of(row):
    """JSON has no NaN: an error that is not finite is null."""
    return "not finite" if row["error"] is None else f"{row['error']:.1e}"


def peers(row):
    """Ratios above 1: ours is faster."""
    found = [f"{peer['name']} {microseconds(peer['warm']['median'])} (x{peer['ratio']:.2f})" for peer in row["peers"]]
    return "; ".join(found) or ABSENT


def cells(row):
    cold = row["cold"]
    notes = ["launch-bound"] if row.get("launch_bound") else []
    notes += ["above 100 %: " + why for why in row.get("above_100_percent", [])]
    notes += ["FAILED: " + c for c in row["complaints"]]
    return [row["pass"], row["variant"] or "-", "x".join(map(str, row["shape"])), row["dtype"], row["layout"],
            f"{row['least_bytes'] / 1e6:.3f}",
            f"{microseconds(cold['median'])} [{microseconds(cold['p10'])}-{microseconds(cold['p90'])}]",
            microseconds(row["warm"]["median"]), f"{row['bytes_per_s'] / 1e9:.0f}", percent(row["of_copy"]), peers(row),
            error_of(row), "yes" if row["same_bits"] else "NO", ", ".join(notes) or "-"]


COLUMNS = ["pass", "variant", "shape", "dtype", "layout", "least MB", "cold us [p10-p90]", "warm us", "GB/s", "of copy",
           "peers, warm us (peer / ours)", "error", "same bits", "notes"]


def table(rows):
    lines = [COLUMNS, ["---"] * len(COLUMNS)] + [cells(row) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def header(machine, date):
    copy = machine.get("copy_bytes_per_s")
    facts = [f"{machine['name']} ({machine['device']}), {machine['clock']}, {date}"]
    facts.append(f"copy {copy / 1e9:.0f} GB/s" if copy else f"copy {ABSENT}")
    for field, what in [("graph_node_s", "smallest node of a CUDA graph"),
                        ("barrier_s", "barrier of a block on each multiprocessor"),
                        ("cooperative_groups_barrier_s", "the same of cooperative groups")]:
        if machine.get(field):
            facts.append(f"{what} {microseconds(machine[field])} us")
    return "; ".join(facts)


def page(contents, date):
    machine = contents[0]["machine"]
    parts = [f"# {machine['name']}\n", "Written by `scripts/bench_table.py` from `bench_norms --json`; "
             "[README.md](README.md) says what the columns mean.\n", header(machine, date) + "\n"]
    rows = [row for content in contents for row in content["rows"]]
    for op in dict.fromkeys(row["op"] for row in rows):
        parts.append(f"## {op}\n\n{table([row for row in rows if row['op'] == op])}\n")
    return "\n".join(parts)


def give_up(problem):
    print("bench_table.py: " + " ".join(problem.split()), file=sys.stderr)
    sys.exit(2)


def read(file):
    try:
        with open(file, encoding="utf-8") as stream:
            content = json.load(stream)
        return {"machine": dict(content["machine"]), "rows": [row for row in content["rows"] if row["cold"]]}
    except (OSError, *files.NOT_OURS) as error:
        give_up(f"{file} is no file of bench_norms --json: {error}")


def main():
    args = options()
    contents = [read(file) for file in args.files]
    try:
        if len({str(content["machine"].get("name")) for content in contents}) > 1:
            give_up("the files are of different machines; make a page for each")
        text = page(contents, args.date)
        failed = sum(not row["ok"] for content in contents for row in content["rows"])
        files.write(args.out, text)
    except files.NOT_OURS as error:
        give_up(f"{', '.join(args.files)}: not all rows are of bench_norms --json: {error!r:.100}")
    except OSError as error:
        give_up(f"cannot write --out {args.out} ({error.strerror}): choose another name, in a folder that exists and has room")
    if failed:
        print(f"bench_table.py: {failed} rows failed their checks; {args.out} says which", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
