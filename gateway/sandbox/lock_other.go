//go:build !unix

package sandbox

import "os"

// lockFile does nothing where the system has no advisory lock: run one sandbox
// per folder.
func lockFile(*os.File) error { return nil }
