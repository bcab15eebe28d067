package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// bookFile is the name of the book in its folder.
const bookFile = "book.jsonl"

// journal appends lines to a file and flushes many of them with one fsync. A
// line is durable when the batch it went into is done. Without a file every
// line is durable at once.
type journal struct {
	file *os.File
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	open    *batch // takes lines; nil when nothing waits
	writing *batch // is on its way to the disk, or was the last to get there
	failed  error  // after a failed write nothing more is promised
	closed  bool
}

// batch is what one fsync makes durable.
type batch struct {
	lines []byte
	done  chan struct{}
	err   error // readable when done is closed
}

// wait returns when the batch is on disk.
func (b *batch) wait() error {
	if b == nil {
		return nil
	}
	<-b.done
	return b.err
}

var errClosed = errors.New("the book is closed")

// openJournal opens the book in dir, hands every line of it to replay, and
// cuts off a last line that a crash left torn. An empty dir keeps nothing.
func openJournal(dir string, replay func(line []byte) error) (*journal, error) {
	j := &journal{wake: make(chan struct{}, 1), done: make(chan struct{})}
	if dir == "" {
		close(j.done)
		return j, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the book's folder: %w", err)
	}
	path := filepath.Join(dir, bookFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the book: %w", err)
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the book %s: %w; another sandbox is using it", path, err)
	}
	end, err := readLines(f, replay)
	if err == nil {
		err = prepare(f, dir, end)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("read the book %s: %w", path, err)
	}
	j.file = f
	go j.write()
	return j, nil
}

// readLines returns where the last whole line ends. A line that cannot be read
// is forgiven only at the very end, where a crash can tear it.
func readLines(f *os.File, replay func([]byte) error) (int64, error) {
	r := bufio.NewReaderSize(f, 1<<20)
	var end int64
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return end, nil // without its newline it was never promised to anyone
		}
		if err != nil {
			return 0, err
		}
		if err := replay(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			if _, more := r.Peek(1); errors.Is(more, io.EOF) {
				return end, nil
			}
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		end += int64(len(line))
	}
}

// prepare cuts the file to its whole lines and makes its name durable.
func prepare(f *os.File, dir string, end int64) error {
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// append adds a line, which must not hold a newline, and returns the batch to
// wait for. Lines become durable in the order of the calls.
func (j *journal) append(line []byte) *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil || j.closed {
		b := &batch{done: make(chan struct{}), err: errors.Join(j.failed, errClosedIf(j.closed))}
		close(b.done)
		return b
	}
	if j.file == nil {
		return nil
	}
	if j.open == nil {
		j.open = &batch{done: make(chan struct{})}
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	j.open.lines = append(append(j.open.lines, line...), '\n')
	return j.open
}

func errClosedIf(closed bool) error {
	if closed {
		return errClosed
	}
	return nil
}

// write is the only goroutine that touches the file. While it waits for the
// disk the next batch fills.
func (j *journal) write() {
	defer close(j.done)
	for range j.wake {
		for {
			j.mu.Lock()
			b := j.open
			j.open = nil
			if b != nil {
				j.writing = b
			}
			j.mu.Unlock()
			if b == nil {
				break
			}
			_, err := j.file.Write(b.lines)
			if err == nil {
				err = j.file.Sync()
			}
			b.lines = nil
			if err != nil {
				b.err = fmt.Errorf("the book cannot be written: %w", err)
				j.mu.Lock()
				j.failed = b.err
				j.mu.Unlock()
			}
			close(b.done)
		}
	}
}

// close makes everything durable that was appended and refuses the rest.
func (j *journal) close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	// One wake-up may be waiting already; after it the writer finds the rest.
	select {
	case j.wake <- struct{}{}:
	default:
	}
	close(j.wake)
	<-j.done
	return errors.Join(j.failed, j.file.Close())
}

// newest returns the batch that still waits, if any: when it is durable,
// everything appended so far is.
func (j *journal) newest() *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open != nil {
		return j.open
	}
	return j.writing
}
