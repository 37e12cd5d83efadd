#!/bin/busybox sh
# The first program of the virtual terminal: sets up devices, modules and network; then runs the
# lines that arrive on the virtual port, one shell command each, and answers with the output and
# <<status>>.
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t devtmpfs none /dev
exec > /dev/console 2>&1
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /tmp
mount -t tmpfs none /var
while read -r module; do
    case $module in
        v4l2loopback.ko) insmod /modules/$module video_nr=0 card_label=door max_buffers=4 ;;
        *) insmod /modules/$module ;;
    esac
done < /modules/start
# Does what systemd does for the lock controller: starts it first and again whenever it ends, and in
# between keeps the strike's line without current (--off). `lock` is the kind of lock; without it
# the controller does not run.
echo fail_secure > /run/lock
while true; do
    lock=$(cat /run/lock)
    if [ "$lock" ]; then
        set -- --board /etc/doorward/board.toml --lock "$lock" --pulse-ms 6000 --socket /run/lockd.sock
        doorward-lockd --supervised "$@" >> /tmp/lockd.log 2>&1
        doorward-lockd --off "$@" >> /tmp/lockd.log 2>&1
    fi
    usleep 20000
done &
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw 10.0.2.2
# The ports of the virtual devices appear a moment after their drivers.
until [ -c /dev/vport0p1 ]; do sleep 0.1; done
echo "virtual terminal: ready"
exec 3<> /dev/vport0p1
while true; do
    while read -r line <&3; do
        output=$(sh -c "$line" 2>&1 < /dev/null 3>&-)
        status=$?
        printf '%s\n<<%d>>\n' "$output" "$status" >&3
    done
    # No program is connected yet.
    sleep 0.1
done
