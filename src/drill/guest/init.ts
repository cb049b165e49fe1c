/** The guest's init: mounts, drivers, network; runs /script with its output on a virtio-serial port; reports its exit status; powers off. */
export const INIT = `#!/bin/sh
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
mkdir -p /dev/shm /dev/pts /dev/virtio-ports
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
modprobe -a virtio_pci virtio_console virtio_blk virtio_net 2>/dev/null
hostname guest
ip link set lo up
. /guest.env

waited=0
while [ ! -e /dev/vport0p2 ] && [ "$waited" -lt 200 ]; do usleep 50000; waited=$((waited + 1)); done
for port in /sys/class/virtio-ports/*; do
  [ -r "$port/name" ] && ln -s "/dev/\${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done

if [ "$GUEST_NETWORK" = 1 ]; then
  modprobe af_packet 2>/dev/null
  waited=0
  while [ ! -e /sys/class/net/eth0 ] && [ "$waited" -lt 200 ]; do usleep 50000; waited=$((waited + 1)); done
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
  ip route add default via 10.0.2.2
fi

waited=0
while [ "$waited" -lt 200 ]; do
  disks=0
  for disk in /sys/block/vd*; do [ -e "$disk" ] && disks=$((disks + 1)); done
  [ "$disks" -ge "$GUEST_DISKS" ] && break
  usleep 50000
  waited=$((waited + 1))
done

(cd /root && exec sh /script) </dev/null >/dev/virtio-ports/out 2>&1
echo $? >/dev/virtio-ports/status
sync
usleep 50000
poweroff -f
`;
