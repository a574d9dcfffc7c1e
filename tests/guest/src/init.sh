#!/bin/busybox sh
# The first program of the machine: brings it up, then does what the test asks, line by line.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules); do
    insmod "/lib/$module.ko"
done
# Its number depends on the order in which the kernel finds devices.
until set -- /dev/vport*; [ -c "$1" ]; do usleep 5000; done
exec 3<>"$1"
ifconfig lo up
# No route beyond the test's own machine.
ifconfig eth0 10.0.2.15 netmask 255.255.255.0
if mount -t ext4 /dev/vda /state; then
    echo ready >&3
else
    echo "the state disk does not mount" >&3
fi
while IFS= read -r line <&3; do
    sh -c "$line" >/tmp/stdout 2>/tmp/stderr 3>&- </dev/null
    echo "$? $(stat -c %s /tmp/stdout) $(stat -c %s /tmp/stderr)" >&3
    cat /tmp/stdout /tmp/stderr >&3
done
poweroff -f
