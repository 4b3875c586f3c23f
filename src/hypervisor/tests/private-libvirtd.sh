#!/bin/bash
# Runs a program where it may start a libvirtd of its own: in namespaces of its own, with libvirt's directories and
# /dev private, so that no libvirtd, domain, cgroup or file of this machine is touched. Everything in there ends when
# the program does.
#
#   private-libvirtd.sh PROGRAM [ARGUMENT...]
#
# Exits like the program. Needs root, unshare, libvirtd and qemu-system-x86_64.
set -euo pipefail

inside() {
    mount --make-rprivate /
    scratch=$1
    shift
    mount -t tmpfs -o mode=0755 tmpfs "$scratch"
    mkdir "$scratch/etc" "$scratch/dev"
    cp -a /etc/libvirt/. "$scratch/etc/"
    rm -rf "$scratch/etc/qemu/autostart" "$scratch/etc/hooks"
    mkdir -p "$scratch/etc/hooks"
    mount --bind "$scratch/etc" /etc/libvirt
    for directory in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
        mount -t tmpfs -o mode=0755 tmpfs "$directory"
    done
    mkdir -p /var/lib/libvirt/images
    # Without /dev/kvm libvirt does not look for it: its probe of QEMU takes half a second instead of several.
    own_dev "$scratch/dev"
    # No security drivers, no cgroups, no log daemon: nothing that would reach out of here.
    cat >/etc/libvirt/qemu.conf <<'CONF'
namespaces = []
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
stdio_handler = "file"
CONF
    mount -t proc proc /proc
    # Not exec: this shell is process 1 and reaps, or libvirt would wait for QEMU's zombies.
    status=0
    "$@" || status=$?
    exit "$status"
}

own_dev() {
    mount -t tmpfs -o mode=0755 tmpfs "$1"
    mknod -m 666 "$1/null" c 1 3
    mknod -m 666 "$1/zero" c 1 5
    mknod -m 666 "$1/random" c 1 8
    mknod -m 666 "$1/urandom" c 1 9
    mkdir "$1/pts" "$1/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$1/pts"
    mount -t tmpfs tmpfs "$1/shm"
    ln -s pts/ptmx "$1/ptmx"
    ln -s /proc/self/fd "$1/fd"
    mount --move "$1" /dev
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
fi

scratch=$(mktemp -d)
trap 'rmdir "$scratch"' EXIT
unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup "$0" --inside "$scratch" "$@"
