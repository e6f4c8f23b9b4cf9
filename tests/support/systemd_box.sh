#!/bin/sh
# Runs as the first process of fresh namespaces; becomes systemd on an overlay of this machine's root.
# $1: a scratch folder with upper, work, root and srv.
set -eu
scratch=$1
root=$scratch/root

mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$root"

# A real file system for what the daemon works on: overlays change inodes when a file is first written.
mkdir -p "$root/srv" "$root/home" "$root/var/log" "$root/mnt"
mount --bind "$scratch/srv" "$root/srv"
for folder in run tmp home mnt var/log; do mount -t tmpfs -o mode=0755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
# Without ptmx and mqueue every unit with PrivateDevices= dies with 226/NAMESPACE.
ln -s pts/ptmx "$root/dev/ptmx"
mkdir "$root/dev/shm" "$root/dev/pts" "$root/dev/mqueue"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t mqueue mqueue "$root/dev/mqueue"

cd "$root"
mkdir run/old-root
pivot_root . run/old-root
umount -l /run/old-root
mount --make-rshared /
exec env -i container=procwatch-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --unit=procwatch-test.target
