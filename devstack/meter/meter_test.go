package meter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestServe(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		run      func(context.Context, Job) (Report, error)
		status   int
		says     string
	}{
		{"a job is run", `{"case":"x","captures":3}` + "\n", func(_ context.Context, j Job) (Report, error) {
			return Report{Booked: j.Captures, Settings: j.Case}, nil
		}, 0, `"booked":3`},
		{"an error is reported", `{"case":"x"}` + "\n", func(context.Context, Job) (Report, error) {
			return Report{}, errors.New("no database")
		}, 1, "no database"},
		{"a limit ends it", `{"case":"x","limit":1000000}` + "\n", func(ctx context.Context, _ Job) (Report, error) {
			<-ctx.Done()
			return Report{}, ctx.Err()
		}, 1, "took longer than 1ms"},
		{"no job", "", nil, 1, "read the job"},
		{"no JSON", "hello\n", nil, 1, "read the job"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, parent := io.Pipe()
			go func() {
				_, _ = io.WriteString(parent, tt.in)
				if tt.in == "" {
					_ = parent.Close()
				}
			}()
			t.Cleanup(func() { _ = parent.Close() })
			var out bytes.Buffer
			if status := Serve(t.Context(), in, &out, tt.run); status != tt.status || !strings.Contains(out.String(), tt.says) {
				t.Errorf("status %d, %s", status, out.String())
			}
			if err := json.Unmarshal(out.Bytes(), &Report{}); err != nil {
				t.Errorf("%v: %s", err, out.String())
			}
		})
	}
}

// TestServeEndsWithItsParent: a child must not outlive the one who started it.
func TestServeEndsWithItsParent(t *testing.T) {
	in := strings.NewReader(`{"case":"x"}` + "\n")
	var out bytes.Buffer
	status := Serve(t.Context(), in, &out, func(ctx context.Context, _ Job) (Report, error) {
		<-ctx.Done()
		return Report{}, ctx.Err()
	})
	if status != 1 || !strings.Contains(out.String(), "the parent has gone") {
		t.Errorf("status %d, %s", status, out.String())
	}
}

func TestParseStat(t *testing.T) {
	line := "4242 (post (gres) S 17 4242 4242 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 12345 1 2 3"
	p, ok := parseStat([]byte(line))
	if want := (stat{pid: 4242, parent: 17, own: 110, buried: 15}); !ok || p != want {
		t.Errorf("%+v %t, want %+v", p, ok, want)
	}
	for _, broken := range []string{"", "1 (x", ") 1 (", "1 (x) S 2"} {
		if _, ok := parseStat([]byte(broken)); ok {
			t.Errorf("%q was read", broken)
		}
	}
}

func TestSampleKnowsWhatItCannotMeasure(t *testing.T) {
	c := Sample(t.Context(), Job{RedisURL: "redis://127.0.0.1:1/0"})
	if c.Redis != Unmeasured || c.Postgres != Unmeasured {
		t.Errorf("%+v", c)
	}
	if got := (CPU{Go: 5, Redis: Unmeasured, Postgres: 9}).Minus(CPU{Go: 2, Redis: 1, Postgres: Unmeasured}); got != (CPU{3, Unmeasured, Unmeasured}) {
		t.Errorf("%+v", got)
	}
}

func TestSampleOfThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the processor time of other processes is read from /proc")
	}
	// This process stands in for a postmaster: it has a pid and a parent, too.
	before := Sample(t.Context(), Job{Postmaster: os.Getpid()})
	for began := time.Now(); Sample(t.Context(), Job{Postmaster: os.Getpid()}).Minus(before).Postgres <= 0; {
		if time.Since(began) > 30*time.Second {
			t.Fatal("no processor time passed")
		}
	}
	if ResidentBytes() <= 0 || TakeMemory(7).Live <= 0 {
		t.Error("no memory in use")
	}
}
