# shellcheck shell=bash
# What the tests of both packages share: a fresh chroot of this Debian release, and what must be true in it whichever package
# brought it. Sourced with `kind` set to deb or rpm; a life in the chroot also wants `upgrade_it`, `remove_it` and `is_installed`, by
# the package's own tool. Needs root. No unit is started: a chroot has no systemd, and the scripts'
# calls of systemctl are recorded instead. What systemd makes of them is seen in packaging/deb/upgrade.

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
cache=${LEASEFENCE_CHROOT_CACHE:-/var/cache/leasefence-test}
root=$(mktemp -d)
hook=$root/etc/libvirt/hooks/qemu.d/leasefence
targets="sleep.target suspend.target hibernate.target hybrid-sleep.target suspend-then-hibernate.target"
cleanup() {
    ! mountpoint -q "$root/proc" || umount "$root/proc"
    rm -rf --one-file-system "$root" "$root".*
}
trap cleanup EXIT
fail() {
    echo "$kind-test: $*" >&2
    exit 1
}
say() { echo "$kind-test: $*"; }
in_root() {
    chroot "$root" env -i PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive \
        SYSTEMD_OFFLINE=1 "$@"
}
# Files that a package may bring or leave. /etc/group- and its like are sysusers' copies.
files() {
    in_root find / -xdev -type f -not -path '/var/*' -not -path '/proc/*' -not -path '/run/*' -not -path '/etc/*-' | sort
}

# Usage: unpack_base NAME PACKAGES
unpack_base() {
    local base=$cache/$suite-$1.tar
    if [ ! -e "$base" ]; then
        say "making a base system of $suite with $2 (once; kept in $cache)"
        mkdir -p "$cache"
        # shellcheck disable=SC2046 # a list of files
        cat $(find /etc/apt -name '*.list' -o -name '*.sources') |
            mmdebstrap --quiet --variant=apt --include="$2" "$suite" "$cache/part.tar" -
        mv "$cache/part.tar" "$base"
    fi
    tar -C "$root" -xf "$base" --exclude='./dev/*'
    chmod 0755 "$root"
}
make_root() {
    unpack_base systemd libvirt0,systemd
    mount -t proc proc "$root/proc"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/urandom" c 1 9
    mkdir -p "$root/run/leasefence"
}

# From here on the scripts believe that systemd runs, and that both units are active. Each call is written down with whether
# libvirt's hook was there. What only moves links below /run goes on to the real one, which does that in a chroot too.
record_systemctl() {
    mkdir -p "$root/run/systemd/system"
    cat >"$root/usr/local/sbin/systemctl" <<'SCRIPT'
#!/bin/sh
[ -e /etc/libvirt/hooks/qemu.d/leasefence ] && hook=hook || hook=no-hook
case "$1" in
    is-enabled | mask | unmask) /usr/bin/systemctl "$@" ;;
    is-active) echo activating; exit 3 ;;
    --quiet) exit 0 ;;
    *) echo "$* ($hook)" >>/systemctl.log ;;
esac
# What a test wants to happen at this call.
if [ -x "/at-$1" ]; then "/at-$1" "$@"; fi
SCRIPT
    chmod +x "$root/usr/local/sbin/systemctl"
}
forget_systemctl() {
    rm -rf "$root/run/systemd/system" "$root/usr/local/sbin/systemctl" "$root/systemctl.log" "$root"/at-*
}
# Usage: calls_were LINE...
calls_were() {
    diff <(printf '%s\n' "$@") "$root/systemctl.log" || fail "systemctl was called otherwise (< wanted, > called)"
    rm "$root/systemctl.log"
}

arm() { echo 'armed boot=0 arm=1 file=0 incarnation=0.1 suspended_ns=0 end' >"$root/run/leasefence/state"; }
disarm() { echo 'disarmed boot=0 arm=1 end' >"$root/run/leasefence/state"; }

# Usage: not_called WHAT
not_called() {
    [ ! -e "$root/systemctl.log" ] || fail "$1 called systemctl: $(cat "$root/systemctl.log")"
}

check_upgrade() {
    say "upgrade: the fencer is restarted, then the agent, nothing is stopped, the operator's configuration stays"
    echo '# changed by the operator' >>"$root/etc/leasefence/leasefence.toml"
    record_systemctl
    upgrade_it
    grep -q 'changed by the operator' "$root/etc/leasefence/leasefence.toml" || fail "the upgrade overwrote the configuration"
    calls_were "daemon-reload (hook)" "restart leasefence-fencer.service (hook)" "restart leasefence-agent.service (hook)"
    check_hook
}

check_armed_upgrade() {
    say "an armed host refuses an upgrade whose page is another, and stays as it was"
    arm
    cp "$root/usr/share/leasefence/page-layout" "$root.layout"
    echo 0 >"$root/usr/share/leasefence/page-layout"
    if upgrade_it; then fail "an armed host was upgraded to a page that its fencer does not know"; fi
    is_installed || fail "the refused upgrade left the package half there"
    not_called "the refused upgrade"
    cp "$root.layout" "$root/usr/share/leasefence/page-layout"
}

check_armed_removal() {
    say "an armed host refuses to be without it, and stays as it was"
    arm
    if remove_it; then fail "an armed host let its fencer go"; fi
    is_installed || fail "the refused removal left the package half there"
    not_called "the refused removal"
    check_hook
}

# Calls of systemctl are recorded until forget_systemctl.
check_removal() {
    say "removal: the hook last; what stays is said below"
    disarm
    echo 'host_key = "test"' >"$root/var/lib/leasefence/identity"
    remove_it
    calls_were "stop leasefence-agent.service (hook)" "disable --now leasefence-agent.service (hook)" "disable --now leasefence-fencer.service (hook)" \
        "stop leasefence-sleep.path leasefence-sleep.timer leasefence-release.service (hook)" "stop --no-block leasefence-inhibit.service (hook)" "daemon-reload (no-hook)"
}

# The agent is about to join when the package is removed, and has armed the host by the time that it is stopped.
check_arming_while_removed() {
    say "a host that arms while the package is being removed keeps its fencer, and gets its agent back"
    disarm
    printf '#!/bin/sh\n[ "$2" != leasefence-agent.service ] || echo armed boot=0 arm=2 >/run/leasefence/state\n' >"$root/at-stop"
    chmod +x "$root/at-stop"
    if remove_it; then fail "a host that armed meanwhile let its fencer go"; fi
    rm "$root/at-stop"
    calls_were "stop leasefence-agent.service (hook)" "start leasefence-agent.service (hook)"
    check_hook
}

check_unstoppable_while_removed() {
    say "a host whose watchdog cannot be stopped keeps its fencer: without it, it would be reset"
    disarm
    echo "$(cat "$root/usr/share/leasefence/page-layout")w nowayout" >"$root/run/leasefence/page-layout"
    if remove_it 2>"$root.err"; then fail "a host let the fencer go that pets its watchdog"; fi
    grep -q 'nowayout' "$root.err" || fail "nobody was told why: $(cat "$root.err")"
    not_called "the refused removal"
    rm "$root/run/leasefence/page-layout"
    check_hook
}

# The host is disarmed when the upgrade begins, so it is let in, and armed by the time that the new files are there.
check_arming_while_upgraded() {
    say "a host that arms while it is being upgraded keeps a fencer whose page the new one cannot read"
    disarm
    echo 0 >"$root/run/leasefence/page-layout"
    printf '#!/bin/sh\necho armed boot=0 arm=2 >/run/leasefence/state\n' >"$root/usr/local/sbin/systemd-tmpfiles"
    chmod +x "$root/usr/local/sbin/systemd-tmpfiles"
    upgrade_it 2>"$root.err" || fail "an upgrade failed that nobody can take back: $(cat "$root.err")"
    rm "$root/usr/local/sbin/systemd-tmpfiles"
    calls_were "daemon-reload (hook)"
    grep -q 'leasefence: ATTENTION' "$root.err" || fail "nobody was told that the old fencer goes on: $(cat "$root.err")"
    say "and an armed host whose page is the same gets the new fencer, with a watchdog open and its own reset on"
    sed 's/$/rw/' "$root/usr/share/leasefence/page-layout" >"$root/run/leasefence/page-layout"
    upgrade_it
    calls_were "daemon-reload (hook)" "restart leasefence-fencer.service (hook)" "restart leasefence-agent.service (hook)"
    rm "$root/run/leasefence/page-layout"
    disarm
}

check_contents() {
    local page completion program document link
    for page in leasefence.1 leasefence-drill-run.1 leasefence.toml.5 leasefence-agent.8 leasefence-fencer.8 leasefence-hook.8; do
        [ -e "$root/usr/share/man/man${page##*.}/$page.gz" ] || fail "no man page $page"
    done
    for completion in "$@"; do
        [ -s "$root/usr/share/$completion" ] || fail "no completion $completion"
    done
    for document in "$root"/usr/share/doc/leasefence/*.md "$root"/usr/share/doc/leasefence/docs/*.md; do
        for link in $(grep -oE '\]\([^)#:]+\)' "$document" | tr -d '()]'); do
            [ -e "${document%/*}/$link" ] || fail "${document##*/} links to $link, which the package lacks"
        done
    done
    in_root leasefence --version
    for program in /usr/sbin/leasefence-agent /usr/sbin/leasefence-fencer /usr/libexec/leasefence/leasefence-hook; do
        in_root "$program" --version
    done
    in_root getent group leasefence >/dev/null || fail "no group leasefence"
    in_root systemd-tmpfiles --create leasefence.conf
    [ "$(in_root stat -c '%a %G' /run/leasefence)" = "2755 leasefence" ] || fail "the run directory is not as tmpfiles.d says"
    in_root systemd-analyze verify --man=no leasefence-fencer.service leasefence-agent.service leasefence-release.service leasefence-sleep.path \
        leasefence-sleep.timer leasefence-inhibit.service
}

check_refusals() {
    say "the default configuration is refused with a clear sentence, and nothing is written"
    if in_root leasefence config check 2>"$root.err"; then fail "the empty default configuration was accepted"; fi
    cat "$root.err"
    if in_root leasefence-agent 2>"$root.err"; then fail "the agent started without a configuration"; fi
    cat "$root.err"
    [ ! -e "$root/var/lib/leasefence/identity" ] || fail "an identity was made without a configuration"

    say "a lease file, its dump, and a refusal to overwrite it; a disk of this machine alone is refused without --test"
    mkdir "$root/lease"
    if in_root leasefence init /lease/test.lease --cluster test; then fail "init took a local file system for a shared one"; fi
    in_root leasefence init /lease/test.lease --cluster test --test
    in_root leasefence dump /lease/test.lease >/dev/null
    if in_root leasefence init /lease/test.lease --cluster test --test; then fail "init overwrote a lease file"; fi
    rm -rf "$root/lease"
}

check_hook() {
    say "libvirt's hook: in its place, whole, allowing, silent"
    cmp "$root/usr/libexec/leasefence/leasefence-hook" "$hook" || fail "the hook is not what the package has"
    [ "$(stat -c '%a %U' "$hook")" = "755 root" ] || fail "the hook's mode is wrong"
    [ -z "$(find "$root/etc/libvirt/hooks" -name '.leasefence*')" ] || fail "a half placed hook was left"
    for operation in prepare start started migrate restore reconnect; do
        [ -z "$(echo '<domain/>' | in_root /etc/libvirt/hooks/qemu.d/leasefence web-1 $operation begin -)" ] ||
            fail "the hook said something at $operation"
    done
}

put_foreign_hook() {
    mkdir -p "${hook%/*}"
    printf '#!/bin/sh\n# somebody else wrote this\n' >"$hook"
    chmod 0755 "$hook"
}
check_foreign_hook() {
    grep -q 'somebody else wrote this' "$hook" || fail "a foreign hook was $1"
}

check_sleep() {
    say "sleep targets: masked while armed, whatever the marker looks like, and nobody else's mask undone"
    local masks=$root/run/systemd/system
    arm
    in_root systemctl mask --quiet --runtime hibernate.target
    in_root /usr/libexec/leasefence/sleep-targets
    in_root /usr/libexec/leasefence/sleep-targets
    for target in $targets; do
        [ "$(readlink "$masks/$target")" = /dev/null ] || fail "$target is not masked while armed"
    done
    disarm
    in_root /usr/libexec/leasefence/sleep-targets
    [ "$(cd "$masks" && echo *.target)" = hibernate.target ] || fail "while disarmed there are: $(ls "$masks")"
    in_root systemctl unmask --quiet --runtime hibernate.target
    echo 'torn' >"$root/run/leasefence/state"
    in_root /usr/libexec/leasefence/sleep-targets
    [ -L "$masks/suspend.target" ] || fail "an unreadable marker was not taken for armed"
    rm "$root/run/leasefence/state"
    in_root /usr/libexec/leasefence/sleep-targets
    [ ! -L "$masks/suspend.target" ] || fail "a mask was left without a marker"

    say "a marker that changes while the targets are being masked is acted on"
    record_systemctl
    arm
    printf '#!/bin/sh\necho disarmed boot=0 arm=2 end >/run/leasefence/state\n' >"$root/at-mask"
    chmod +x "$root/at-mask"
    in_root /usr/libexec/leasefence/sleep-targets
    [ ! -L "$masks/suspend.target" ] || fail "a host that was disarmed while its sleep targets were being masked cannot sleep"
    calls_were "start --no-block leasefence-inhibit.service (hook)" "stop --no-block leasefence-inhibit.service (hook)"
    forget_systemctl
    rm "$root/run/leasefence/state"
}

check_release() {
    say "a host that shuts down releases its lease, again while that is refused; no other stop does, nor a host in maintenance"
    local stand_in=$root/stand-in/bin
    mkdir -p "$stand_in"
    cat >"$stand_in/systemctl" <<'SCRIPT'
#!/bin/sh
[ "$1" != is-system-running ] || cat /stand-in/system-state
SCRIPT
    cat >"$stand_in/leasefence" <<'SCRIPT'
#!/bin/sh
echo "$*" >>/stand-in/asked
[ "$(wc -l </stand-in/asked)" -ge 2 ]
SCRIPT
    chmod +x "$stand_in"/*
    # Usage: stop_asks TIMES MARKER STATE
    stop_asks() {
        echo "$2 boot=0 arm=1 end" >"$root/run/leasefence/state"
        echo "$3" >"$root/stand-in/system-state"
        : >"$root/stand-in/asked"
        in_root PATH=/stand-in/bin:/usr/bin:/bin /usr/libexec/leasefence/release-at-shutdown
        [ "$(grep -cx release "$root/stand-in/asked")" = "$1" ] || fail "$2, $3: asked for: $(cat "$root/stand-in/asked")"
    }
    stop_asks 2 armed stopping
    stop_asks 0 armed running
    stop_asks 0 disarmed stopping
    say "nor one that still joins: it would be refused until the unit's time is over"
    rm "$root/run/leasefence/state"
    echo stopping >"$root/stand-in/system-state"
    : >"$root/stand-in/asked"
    in_root PATH=/stand-in/bin:/usr/bin:/bin /usr/libexec/leasefence/release-at-shutdown
    [ ! -s "$root/stand-in/asked" ] || fail "a host that joins was asked for a release"
    rm -r "$root/stand-in"
}
