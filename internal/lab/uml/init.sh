#!/bin/bash
# init.sh is PID 1 of the User-mode Linux that run.sh boots. The root is that of the machine, read-only.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=dumb

mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sysfs /sys
for word in $(</proc/cmdline); do
	case $word in job=*) job=${word#job=} ;; esac
done

mkdir -p /dev/pts /dev/shm /dev/net
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
[ -e /dev/net/tun ] || mknod -m 666 /dev/net/tun c 10 200
mount -t cgroup2 cgroup2 /sys/fs/cgroup # what a systemd needs
for controller in $(</sys/fs/cgroup/cgroup.controllers); do echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control; done
ln -sf /proc/self/fd /dev/fd
for fd in 0:stdin 1:stdout 2:stderr; do ln -sf "/proc/self/fd/${fd%:*}" "/dev/${fd#*:}"; done

# The two streams are two consoles, which must not add a carriage return to every line.
stty raw -echo -F /dev/tty0
stty raw -echo -F /dev/tty1
exec </dev/null >/dev/tty0 2>/dev/tty1

# Everything is read before the folder that it is in is hidden.
mapfile -d '' -t command <"$job/command"
mapfile -t readable <"$job/readable"
mapfile -t writable <"$job/writable"
cwd=$(<"$job/cwd")
# shellcheck source=/dev/null
. "$job/env"

for dir in /tmp /run /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$dir"; done
mkdir -p /run/lock /run/netns /run/wireguard
for dir in "${readable[@]}"; do
	[ -e "$dir" ] || { mkdir -p "$dir" && mount -r -t hostfs -o "$dir" none "$dir"; }
done
for dir in "${writable[@]}"; do
	[ -n "$dir" ] && { mkdir -p "$dir" 2>/dev/null; mount -t hostfs -o "$dir" none "$dir"; }
done

unset job mem stderr uml_dir # arguments of the kernel end up in the environment of its first process
hostname uml
ip link set lo up
cd "$cwd" || exit
"${command[@]}"
status=$?

echo 0 >/proc/sys/kernel/printk
echo "$status" >/proc/exitcode
# reboot(2) with POWER_OFF: the one way out that needs no init system
exec perl -e 'syscall 169, 0xfee1dead, 0x28121969, 0x4321fedc, 0'
