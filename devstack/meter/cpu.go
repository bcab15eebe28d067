package meter

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// CPU is processor time in microseconds: of the measuring process, of its Redis
// and of its Postgres. What cannot be measured is [Unmeasured].
type CPU struct {
	Go       int64 `json:"go"`
	Redis    int64 `json:"redis"`
	Postgres int64 `json:"postgres"`
}

// Unmeasured stands for a figure that this platform, or the server, does not give.
const Unmeasured = -1

// Minus is the time that passed since before.
func (c CPU) Minus(before CPU) CPU {
	since := func(now, then int64) int64 {
		if now == Unmeasured || then == Unmeasured {
			return Unmeasured
		}
		return now - then
	}
	return CPU{Go: since(c.Go, before.Go), Redis: since(c.Redis, before.Redis), Postgres: since(c.Postgres, before.Postgres)}
}

// Sample reads the processor time that all three have used until now.
func Sample(ctx context.Context, job Job) CPU {
	return CPU{Go: own(), Redis: redis(ctx, job.RedisURL), Postgres: postgres(job.Postmaster)}
}

// redis asks the server itself. Its command is written by hand: a client's
// library would be one of the things that are measured.
func redis(ctx context.Context, address string) int64 {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return Unmeasured
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return Unmeasured
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(5*time.Second)) != nil {
		return Unmeasured
	}
	if _, err := fmt.Fprint(conn, "INFO cpu\r\nQUIT\r\n"); err != nil {
		return Unmeasured
	}
	total := 0.0
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if name != "used_cpu_user" && name != "used_cpu_sys" {
			continue
		}
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return Unmeasured
		}
		total += seconds
	}
	if total == 0 {
		return Unmeasured // an imitation of Redis tells nothing
	}
	return int64(total * 1e6)
}

// tick is the unit of /proc's times: USER_HZ is 100 on every Linux.
const tick = 10_000 // microseconds

// postgres adds up the postmaster, the children it has buried and those that
// live, by /proc. Children that end between two samples move from the one sum
// to the other.
func postgres(postmaster int) int64 {
	if runtime.GOOS != "linux" || postmaster <= 0 {
		return Unmeasured
	}
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return Unmeasured
	}
	ticks, found := int64(0), false
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		p, ok := parseStat(b)
		switch {
		case !ok:
		case p.pid == postmaster:
			found = true
			ticks += p.own + p.buried
		case p.parent == postmaster:
			ticks += p.own
		}
	}
	if !found {
		return Unmeasured
	}
	return ticks * tick
}

// stat is one process: its own time, and that of its buried children, in ticks.
type stat struct {
	pid, parent int
	own, buried int64
}

// parseStat reads /proc/PID/stat. The name in it is in brackets and may hold
// anything, so the fields are counted from the last bracket.
func parseStat(b []byte) (stat, bool) {
	var p stat
	open, last := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || last < open {
		return p, false
	}
	fields := strings.Fields(string(b[last+1:]))
	if len(fields) < 15 {
		return p, false
	}
	n := func(s string) int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0
		}
		return v
	}
	p.pid, p.parent = int(n(strings.TrimSpace(string(b[:open])))), int(n(fields[1]))
	p.own, p.buried = n(fields[11])+n(fields[12]), n(fields[13])+n(fields[14])
	return p, true
}

// ResidentBytes is the memory this process has in use, or [Unmeasured].
func ResidentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return Unmeasured
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return Unmeasured
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return Unmeasured
	}
	return pages * int64(os.Getpagesize())
}

// TakeMemory collects what is not referenced any more and reads what is left.
func TakeMemory(captures int) Memory {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Memory{Captures: captures, RSS: ResidentBytes(), Live: int64(m.HeapAlloc)}
}
