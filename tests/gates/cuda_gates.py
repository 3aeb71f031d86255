#!/usr/bin/env python3
"""What nvcc can tell about the CUDA kernels without a GPU.

    cuda_gates.py [--update] [--jobs 2] [--archs 90a]

1. Every kernel has launch bounds. (nvcc's own -Wmissing-launch-bounds reports every template.)
2. On sm_90a no kernel spills or uses local memory, and none uses more registers or static shared memory than
   kernel_budget.csv allows; kernels that are not in it, or no longer in the code, are errors. --update rewrites it.
3. With --archs 90a,75,89: every file compiles for these architectures too, with warnings as errors, spills and local
   memory among them. `.ci/run` takes the oldest and the newest, 7.5 and 8.9, `make test-all` those between as well.

Exit codes: 0 all hold, 1 something does not, 77 there is no nvcc.
"""
import argparse
import concurrent.futures
import csv
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUDGET = pathlib.Path(__file__).with_name("kernel_budget.csv")
FOLDERS = [ROOT / "kernels" / "cuda", ROOT / "apps" / "mnist", ROOT / "apps" / "bench"]  # of .cu files
PTXAS_STRICT = ["-warn-spills", "-warn-lmem-usage", "-Werror"]


def find_tool(name):
    beside = pathlib.Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc").resolve().with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def run(command):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def nvcc(folder, *arguments):
    """Runs nvcc with the headers as "evenkeel/kernels/common.h", through a link in `folder`, and "bench/barriers.h"."""
    return run([find_tool("nvcc"), "-std=c++20", f"-I{folder}", f"-I{ROOT / 'apps'}", "-Werror", "all-warnings",
                "-Xcompiler", "-Wall,-Wextra", *arguments])


def name_of(source):
    """What the kernels of a file are named after: "batch_norm", and "ladder/batch_norm" for the bench's own."""
    folder = next(folder for folder in FOLDERS if source.is_relative_to(folder))
    return source.relative_to(folder).with_suffix("").as_posix()


def output_of(source, folder, ending):
    return folder / (name_of(source).replace("/", "-") + ending)


def readable(mangled):
    """Kernel<template arguments>, the same on every machine: without parameters, namespaces and file hashes."""
    names = run(["c++filt", *mangled]).stdout.splitlines()
    short = []
    for name in names:
        name = re.sub(r"evenkeel::(cuda::|mnist::)?|\(anonymous namespace\)::|^void ", "", name)
        depth = 0
        for end, letter in enumerate(name):  # the parameter list starts at the first ( outside of <>
            depth += {"<": 1, ">": -1}.get(letter, 0)
            if letter == "(" and depth == 0:
                break
        short.append(name[:end].strip())
    return short


def measure(source, folder):
    """The kernels of one file on sm_90a: [(name, registers, shared bytes, threads)], and errors."""
    ptx = output_of(source, folder, ".ptx")
    compiled = nvcc(folder, "-arch=compute_90a", "-ptx", str(source), "-o", str(ptx))
    if compiled.returncode != 0:
        return [], [f"{name_of(source)}.cu: {compiled.stderr.strip()}"]
    entries = re.findall(r"\.entry (\w+)\((.*?)\)\s*((?:\.\w+[^{\n]*\n)*)", ptx.read_text(), re.S)
    bounds = {name: re.search(r"\.maxntid (\d+)", directives) for name, _, directives in entries}
    assembled = run([find_tool("ptxas"), "-arch=sm_90a", "-v", *PTXAS_STRICT, str(ptx), "-o", str(ptx) + ".cubin"])
    errors = [line for line in assembled.stderr.splitlines() if "error" in line]
    usage = re.findall(r"entry function '(\w+)'.*?Used (\d+) registers([^\n]*)", assembled.stderr, re.S)
    kernels = []
    for (name, registers, rest), short in zip(usage, readable([u[0] for u in usage]) if usage else []):
        shared = re.search(r"(\d+) bytes smem", rest)
        if bounds.get(name) is None:
            errors.append(f"{short}: has no __launch_bounds__")
            continue
        kernels.append((f"{name_of(source)}: {short}", int(registers), int(shared[1]) if shared else 0,
                        int(bounds[name][1])))
    if assembled.returncode != 0 and not errors:
        errors.append(assembled.stderr.strip())
    return kernels, [f"{name_of(source)}.cu: {error}" for error in errors]


def compile_for(source, archs, folder):
    """For other architectures: nothing in the kernels asks which of them it is, so one text of compute_75 is assembled for all."""
    ptx = output_of(source, folder, ".75.ptx")
    compiled = nvcc(folder, "-arch=compute_75", "-ptx", str(source), "-o", str(ptx))
    if compiled.returncode != 0:
        return [f"{name_of(source)}.cu: {compiled.stderr.strip()}"]
    errors = []
    for arch in archs:
        assembled = run([find_tool("ptxas"), f"-arch=sm_{arch}", *PTXAS_STRICT, str(ptx), "-o", f"{ptx}.{arch}.cubin"])
        if assembled.returncode != 0:
            errors.append(f"{name_of(source)}.cu, sm_{arch}: {assembled.stderr.strip()}")
    return errors


def compare(kernels):
    """What `kernels` use beyond the budget."""
    with BUDGET.open() as file:
        budget = {row["kernel"]: row for row in csv.DictReader(file)}
    errors = []
    for name, registers, shared, threads in kernels:
        allowed = budget.pop(name, None)
        if allowed is None:
            errors.append(f"{name} is not in {BUDGET.name}; run cuda_gates.py --update")
            continue
        for what, used in (("registers", registers), ("shared", shared), ("threads", threads)):
            if not used <= int(allowed[what]):
                errors.append(f"{name} uses {used} {what}, {allowed[what]} are allowed")
    errors += [f"{name} is in {BUDGET.name} and not in the code; run cuda_gates.py --update" for name in budget]
    return errors


def write_budget(kernels):
    with BUDGET.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["kernel", "registers", "shared", "threads"])
        rows.writerows(sorted(kernels))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write kernel_budget.csv anew")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--archs", default="90a", help="1 and 2 are of 90a")
    options = parser.parse_args()
    if options.update and "90a" not in options.archs.split(","):
        parser.error("--update measures on 90a: add it to --archs")
    if find_tool("nvcc") is None:
        print("skipped: there is no nvcc")
        return 77
    sources = sorted(source for folder in FOLDERS for source in folder.rglob("*.cu"))
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        folder = pathlib.Path(folder)
        (folder / "evenkeel").symlink_to(ROOT, target_is_directory=True)
        archs = options.archs.split(",")
        others = [arch for arch in archs if arch != "90a"]
        measured = [pool.submit(measure, source, folder) for source in sources if "90a" in archs]
        compiled = [pool.submit(compile_for, source, others, folder) for source in sources if others]
        kernels = sorted(kernel for future in measured for kernel in future.result()[0])
        errors = [error for future in measured for error in future.result()[1]]
        errors += [error for future in compiled for error in future.result()]
    if measured:
        if options.update and not errors:
            write_budget(kernels)
        if BUDGET.exists():
            errors += compare(kernels)
        else:
            errors.append(f"{BUDGET} is missing; run cuda_gates.py --update")
    for error in errors:
        print("error:", error)
    print(f"{len(sources)} files for {options.archs}: {len(errors)} errors")
    if measured:
        print(f"{len(kernels)} kernels for 90a: at most {max((kernel[1] for kernel in kernels), default=0)} registers")
    return 1 if errors or not sources or (measured and not kernels) else 0


if __name__ == "__main__":
    sys.exit(main())
