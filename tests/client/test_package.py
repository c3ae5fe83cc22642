"""The client's package: packed, installed in other projects, compiled and run there."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import evalqueue

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/typescript"
ENVIRONMENT = os.environ | {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "npm_config_cache": "",
    "npm_config_update_notifier": "false",
}

PROGRAM = """
import {
  ApiError, createClient, isOver, jobsApi, type Job, type JobEvent, type WatchState,
} from "@evalqueue/client";

const client = createClient({ baseUrl: "http://127.0.0.1:9", token: undefined });
const states: WatchState[] = [];
export async function follow(id: string): Promise<Job> {
  const all = client.watchAll((job: JobEvent) => void job.revision, () => {});
  all.stop();
  const watch = client.watch(id, (job) => void job.progress.message, {
    onState: (state) => states.push(state),
  });
  const job = await watch.done;
  const outcomes = await client.runs.outcomes(job.run_id ?? "", { limit: 10 });
  return isOver(job) && outcomes.total > 0 ? job : jobsApi.pollUntilDone(id, () => {}, 100);
}
// @ts-expect-error  a status is one of five
export const never = (job: Job) => job.status === "paused";

try {
  await client.jobs.list();
} catch (error) {
  if (error instanceof ApiError) console.log(error.status, error.problems.length);
}
"""

PROJECTS = {
    "a page, bundled": {
        "target": "ES2022", "module": "ESNext", "moduleResolution": "Bundler",
        "lib": ["ES2022", "DOM"], "types": [],
    },
    "a program for Node": {
        "target": "ES2022", "module": "NodeNext", "lib": ["ES2022"], "types": ["node"],
        "typeRoots": [str(ROOT / "node_modules/@types")],
    },
}  # fmt: skip


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that `npm publish` would publish."""
    folder = tmp_path_factory.mktemp("packed")
    ENVIRONMENT["npm_config_cache"] = str(folder / "cache")
    run("npm", "pack", "--silent", "--pack-destination", str(folder), cwd=CLIENT)
    (found,) = folder.glob("*.tgz")
    return found


def test_it_holds_what_it_needs_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as packed:
        names = {name.removeprefix("package/") for name in packed.getnames()}
    modules = {path.stem for path in (CLIENT / "src").glob("*.ts")}
    assert names == {"LICENSE", "README.md", "package.json"} | {
        f"dist/{name}{end}" for name in modules for end in (".js", ".d.ts")
    }


@pytest.mark.parametrize("options", PROJECTS.values(), ids=list(PROJECTS))
def test_it_compiles_and_runs_in_a_project_of_others(
    tarball: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    (tmp_path / "package.json").write_text('{"type": "module", "private": true}')
    (tmp_path / "program.ts").write_text(PROGRAM)
    strict = {"strict": True, "exactOptionalPropertyTypes": True, "skipLibCheck": False}
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options | strict}))
    run("npm", "install", "--offline", "--silent", str(tarball), cwd=tmp_path)
    run(ROOT / "node_modules/.bin/tsc", cwd=tmp_path)
    assert run("node", "program.js", cwd=tmp_path) == "0 0\n"


COMMON_JS = """
const load = () => import("@evalqueue/client");
load().then(({ createClient }) => console.log(typeof createClient({}).jobs.submit));
"""


def test_a_common_js_program_imports_it(tarball: Path, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "commonjs", "private": true}')
    (tmp_path / "program.cjs").write_text(COMMON_JS)
    run("npm", "install", "--offline", "--silent", str(tarball), cwd=tmp_path)
    assert run("node", "program.cjs", cwd=tmp_path) == "function\n"


def test_its_package_file_is_in_order(tarball: Path) -> None:
    """By the rules of npm, Node, bundlers and TypeScript."""
    assert "All good!" in run(ROOT / "node_modules/.bin/publint", tarball, "--strict", cwd=ROOT)


def test_it_has_this_version_and_no_dependencies() -> None:
    about = json.loads((CLIENT / "package.json").read_text("utf-8"))
    assert about["version"] == evalqueue.__version__
    assert about["license"] == "Apache-2.0"
    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & set(about)


def test_no_lock_file_says_where_packages_are_fetched_from() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert not [name for name, each in packages.items() if "resolved" in each]
    assert all("integrity" in each for each in packages.values())
    pinned = json.loads((ROOT / "package.json").read_text("utf-8"))["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
