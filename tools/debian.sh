# Programs that tests need and that are not on PyPI or npm: installed ones, or else Debian's. Chromium is
# installed if the user is root; otherwise packages are unpacked beside the environment. `run` sources this.

# ensure_pgbouncer: fetches PgBouncer if it is not installed.
ensure_pgbouncer() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "${EVALQUEUE_PGBOUNCER:-pgbouncer}" >/dev/null && return
    if unpack_pgbouncer >"$VENV/pgbouncer.log" 2>&1; then return; fi
    echo "./run: there is no PgBouncer, and none could be fetched (see $VENV/pgbouncer.log): the tests" >&2
    echo "./run: that go through one will fail. Install it: apt-get install pgbouncer, brew install pgbouncer" >&2
}

# ensure_busybox: fetches BusyBox, with whose shell `run` is tested, if it is not installed.
ensure_busybox() {
    command -v busybox >/dev/null && return
    if unpack_busybox >"$VENV/busybox.log" 2>&1; then return; fi
    echo "./run: there is no BusyBox, and none could be fetched (see $VENV/busybox.log): its shell is not" >&2
    echo "./run: tested. Install it: apt-get install busybox" >&2
}

# ensure_nginx: fetches nginx, behind which the API is tested, if it is not installed.
ensure_nginx() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nginx >/dev/null && return
    if unpack_nginx >"$VENV/nginx.log" 2>&1; then return; fi
    echo "./run: there is no nginx, and none could be fetched (see $VENV/nginx.log): the tests of the" >&2
    echo "./run: example configuration will fail. Install it: apt-get install nginx-light, brew install nginx" >&2
}

# ensure_prometheus: fetches Prometheus and its promtool, if they are not installed.
ensure_prometheus() {
    command -v prometheus >/dev/null && command -v promtool >/dev/null && return
    if unpack_prometheus >"$VENV/prometheus.log" 2>&1; then return; fi
    echo "./run: there is no Prometheus, and none could be fetched (see $VENV/prometheus.log): the tests" >&2
    echo "./run: of its rules will fail. Install it: apt-get install prometheus, brew install prometheus" >&2
}

# ensure_chromium: fetches Chromium if it is not installed. Tests find it by EVALQUEUE_CHROMIUM, or by name.
ensure_chromium() {
    if [ -n "${EVALQUEUE_CHROMIUM:-}" ]; then
        command -v "$EVALQUEUE_CHROMIUM" >/dev/null && return
        echo "./run: EVALQUEUE_CHROMIUM is $EVALQUEUE_CHROMIUM, and there is no such program." >&2
        exit 1
    fi
    for candidate in chromium chromium-browser google-chrome \
            "/Applications/Chromium.app/Contents/MacOS/Chromium" \
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        if EVALQUEUE_CHROMIUM=$(command -v "$candidate"); then export EVALQUEUE_CHROMIUM; return; fi
    done
    unset EVALQUEUE_CHROMIUM
    echo "./run: fetching Chromium (once)…" >&2
    if [ "$(id -u)" = 0 ] && install_chromium >"$VENV/chromium.log" 2>&1; then return; fi
    if unpack_chromium >>"$VENV/chromium.log" 2>&1; then return; fi
    echo "./run: there is no Chromium, and none could be fetched (see $VENV/chromium.log): the tests of" >&2
    echo "./run: the page will fail. Install it: apt-get install chromium, brew install --cask chromium," >&2
    echo "./run: or set EVALQUEUE_CHROMIUM to a Chrome." >&2
}

install_chromium() {
    install="env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium"
    $install || { apt-get update && $install; }
}

unpack_pgbouncer() {
    unpack pgbouncer || return 1
    command_in "$unpacked/pgbouncer" <<TEXT
exec "$unpacked/usr/sbin/pgbouncer" "\$@"
TEXT
    "$unpacked/pgbouncer" --version && ln -sf "$unpacked/pgbouncer" "$VENV/bin/pgbouncer"
}

unpack_nginx() {
    unpack nginx-light || return 1
    command_in "$unpacked/nginx" <<TEXT
exec "$unpacked/usr/sbin/nginx" "\$@"
TEXT
    "$unpacked/nginx" -v && ln -sf "$unpacked/nginx" "$VENV/bin/nginx"
}

unpack_busybox() {
    unpack busybox || return 1
    "$unpacked/bin/busybox" sh -c : && ln -sf "$unpacked/bin/busybox" "$VENV/bin/busybox"
}

unpack_prometheus() {
    unpack prometheus && rm -r "$unpacked/usr/share" || return 1 # its pages, which link elsewhere
    for program in prometheus promtool; do
        "$unpacked/usr/bin/$program" --version && ln -sf "$unpacked/usr/bin/$program" "$VENV/bin/$program" || return 1
    done
}

unpack_chromium() {
    unpack chromium || return 1
    cat > "$unpacked/fonts.conf" <<TEXT
<fontconfig>
  <dir>$unpacked/usr/share/fonts</dir><dir>/usr/share/fonts</dir><cachedir>$unpacked/fonts</cachedir>
</fontconfig>
TEXT
    command_in "$unpacked/chromium" <<TEXT
export FONTCONFIG_FILE="\${FONTCONFIG_FILE:-$unpacked/fonts.conf}"
exec "$unpacked/usr/lib/chromium/chromium" "\$@"
TEXT
    "$unpacked/chromium" --version && ln -sf "$unpacked/chromium" "$VENV/bin/chromium"
}

# unpack PACKAGE: unpacks it and its missing dependencies into a folder, and sets $unpacked.
unpack() {
    unpacked="$VENV/debian/$1"
    rm -rf "$unpacked" && mkdir -p "$unpacked" || return 1
    for try in 1 2; do
        # Lines of packages that are only upgraded ("Inst name [version] …") are skipped.
        wanted=$(apt-get install --simulate --no-install-recommends "$1" |
            sed -n 's/^Inst \([^ ]*\) (.*/\1/p')
        # shellcheck disable=SC2086  # names, one per word
        [ -n "$wanted" ] && (cd "$unpacked" && apt-get download $wanted) && break
        [ "$try" = 1 ] && [ "$(id -u)" = 0 ] && apt-get update || return 1
    done
    for package in "$unpacked"/*.deb; do
        dpkg-deb -x "$package" "$unpacked" && rm "$package" || return 1
    done
}

# command_in FILE: writes a script that sets LD_LIBRARY_PATH; the rest of the script comes from stdin.
command_in() {
    {
        echo "#!/bin/sh"
        echo "libraries=\"$unpacked\"/usr/lib"
        echo "LD_LIBRARY_PATH=\$(echo \"\$libraries\"/*-linux-gnu* \"\$libraries\"/*-linux-gnu*/*/ | tr ' ' ':')"
        echo "export LD_LIBRARY_PATH"
        cat
    } > "$1"
    chmod +x "$1"
}
