package cgroup

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// scopeTime is how long systemd may take to move us: a busy machine needs a
// second, a hanging one is not waited for.
const scopeTime = 10 * time.Second

// enterScope asks systemd for a scope with this process in it, see
// org.freedesktop.systemd1(5) and CGROUP_DELEGATION of systemd, and waits until
// it is there.
func (w Way) enterScope(name string) error {
	conn, err := w.connect()
	if err != nil {
		return fmt.Errorf("ask systemd for a scope: %w", err)
	}
	defer conn.Close()
	type property struct {
		Name  string
		Value dbus.Variant
	}
	properties := []property{
		{"Description", dbus.MakeVariant("container of bryo")},
		{"PIDs", dbus.MakeVariant([]uint32{0})}, // 0: who asks
		{"Delegate", dbus.MakeVariant(true)},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
		{"TasksMax", dbus.MakeVariant(^uint64(0))}, // the container's own limit counts
	}
	if w.Slice != "" {
		properties = append(properties, property{"Slice", dbus.MakeVariant(w.Slice)})
	}
	type unit struct {
		Name       string
		Properties []property
	}
	var job dbus.ObjectPath
	manager := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	call := manager.Call("org.freedesktop.systemd1.Manager.StartTransientUnit", 0, name, "fail", properties, []unit{})
	if err := call.Store(&job); err != nil {
		return fmt.Errorf("ask systemd for scope %s: %w", name, err)
	}
	for end := time.Now().Add(scopeTime); ; time.Sleep(time.Millisecond / 2) {
		if own, err := Own(); err != nil || path.Base(own) == name {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("systemd does not start scope %s", name)
		}
	}
}

func (w Way) connect() (*dbus.Conn, error) {
	socket, err := net.DialTimeout("unix", w.Bus, scopeTime)
	if err != nil {
		return nil, err
	}
	_ = socket.SetDeadline(time.Now().Add(scopeTime)) // a bus that never answers
	unixSocket, ok := socket.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a unix socket")
	}
	conn, err := dbus.DialUnix(unixSocket)
	if err != nil {
		socket.Close()
		return nil, err
	}
	// The bus compares with the kernel's word for who we are on the host.
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(w.UID))}); err != nil {
		conn.Close()
		return nil, err
	}
	if err := conn.Hello(); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
